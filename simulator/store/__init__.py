"""Rows in memory with undo, equality indexes and snapshots; SQLite beside it when they have to outlive the process."""

from simulator.store.memory import Change, Row, Snapshot, Store

__all__ = ["Change", "Row", "Snapshot", "Store"]
