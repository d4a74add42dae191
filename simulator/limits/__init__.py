"""Service protection: how much one user may ask of one web server, over a sliding window."""

from simulator.limits.protection import Limits, Protection, Throttled, Verdict

__all__ = ["Limits", "Protection", "Throttled", "Verdict"]
