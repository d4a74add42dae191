"""The page at `/`: tables, rows, the operation log as it grows, limits and faults. Plain files, no build step."""

from functools import cache
from pathlib import Path

from aiohttp import web

_FOLDER = Path(__file__).parent
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


@cache
def _file(name: str) -> tuple[str, bytes] | None:
    path = _FOLDER / name
    if path.suffix not in _TYPES or path.parent != _FOLDER or not path.is_file():
        return None
    return _TYPES[path.suffix], path.read_bytes()


def page(path: str) -> web.Response:
    """The page or one of its files; 404 for anything else."""
    found = _file("index.html" if path == "/" else path.removeprefix("/page/"))
    if found is None:
        return web.Response(status=404)
    return web.Response(body=found[1], content_type=found[0], charset="utf-8")
