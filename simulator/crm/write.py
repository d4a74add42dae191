"""The operations that change rows. Each is one operation; the caller wraps it in a transaction."""

from simulator.crm.create import create
from simulator.crm.delete import delete
from simulator.crm.update import check_version, patch, update

__all__ = ["check_version", "create", "delete", "patch", "update"]
