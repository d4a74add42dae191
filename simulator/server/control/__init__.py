"""`/_control/…`: look into the simulator and disturb it. JSON in, JSON out; `GET /_control` lists what there is."""

import inspect
import json
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from simulator import errors
from simulator.server.control import access, observing, state, trouble
from simulator.server.control.desk import ControlError, Desk, Routes


async def _index(control: Desk, http: web.BaseRequest, rest: str) -> Any:
    del http, rest
    endpoints = {f"{method} /_control/{name}": handler for (method, name), handler in sorted(ROUTES.items())}
    return {
        **control.info,
        "endpoints": list(endpoints),
        "help": {endpoint: inspect.getdoc(handler) for endpoint, handler in endpoints.items() if handler.__doc__},
    }


ROUTES: Routes = {
    ("GET", ""): _index,
    **observing.ROUTES,
    **state.ROUTES,
    **trouble.ROUTES,
    **access.ROUTES,
}


class Control:
    """Dispatches on method and name, and turns mistakes into answers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def answer(self, http: web.BaseRequest) -> web.StreamResponse:
        _, _, name = http.path.removeprefix("/_control").partition("/")
        name, _, rest = name.partition("/")
        handler = ROUTES.get((http.method, name))
        if handler is None:
            return _json({"error": f"no control {http.method} {http.path}"}, 404)
        try:
            return _json(await handler(self.desk, http, rest))
        except ControlError as error:
            return _json({"error": str(error)}, error.status)
        except errors.Refusal as refusal:
            return _json({"error": refusal.message, "code": refusal.code}, 400)
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            return _json({"error": str(error)}, 400)


def _json(answer: Any, status: int = 200) -> web.Response:
    body = json.dumps(answer, ensure_ascii=False).encode()
    return web.Response(status=status, body=body, content_type="application/json")
