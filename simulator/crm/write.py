"""The operations that change rows. Each is one operation; the caller wraps it in a transaction."""

from simulator.crm.associate import associate, disassociate
from simulator.crm.change import check_version, update
from simulator.crm.create import create
from simulator.crm.delete import delete
from simulator.crm.upsert import patch

__all__ = ["associate", "check_version", "create", "delete", "disassociate", "patch", "update"]
