"""Trouble on request: what goes wrong, when, and how often. Reproducible by seed."""

from simulator.faults.rules import Fired, Rule, Rules

__all__ = ["Fired", "Rule", "Rules"]
