"""The simulator on a port: the Web API, the sign-in endpoint, the control endpoint and the page."""

from simulator.server.host import Endpoints, serving

__all__ = ["Endpoints", "serving"]
