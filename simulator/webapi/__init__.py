"""The Web API without the network: a request in, a reply out."""

from simulator.webapi.dispatch import handle
from simulator.webapi.messages import Reply, Request

__all__ = ["Reply", "Request", "handle"]
