"""What the organization does with rows: create, update, delete, read, under privileges and preconditions. No HTTP."""

from simulator.crm.call import Call, Preconditions
from simulator.crm.organization import Organization

__all__ = ["Call", "Organization", "Preconditions"]
