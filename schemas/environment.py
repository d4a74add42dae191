"""Settings from environment variables: read once, checked whole, every mistake named at once and never a value."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsError

S = TypeVar("S", bound=BaseSettings)


class Misconfigured(Exception):
    """A person must change the configuration; restarting does not help. `problems` names every mistake at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Variable(NamedTuple):
    """One setting as a person meets it. `default` is "required" if there is none, and empty if it is nothing."""

    name: str
    default: str
    description: str


def read(cls: type[S], *, help_command: str, environ: Mapping[str, str] | None = None, **overrides: Any) -> S:
    """The settings, `overrides` on top. Raises Misconfigured. `environ` is only looked through for unknown names."""
    prefix = _prefix(cls)
    unknown = [
        f"{name}: is no setting; see {help_command}"
        for name in sorted(os.environ if environ is None else environ)
        if name.upper().startswith(prefix) and not _is_known(cls, name.upper().removeprefix(prefix))
    ]
    try:
        settings = cls(**overrides)
    except ValidationError as error:
        wrong = [_problem(prefix, e["loc"], e["msg"]) for e in error.errors(include_input=False, include_url=False)]
        raise Misconfigured([*unknown, *wrong]) from None
    except SettingsError as error:
        raise Misconfigured([*unknown, f"{prefix}…: {error}: it must be JSON"]) from None
    if unknown:
        raise Misconfigured(unknown)
    return settings


def describe(cls: type[BaseSettings]) -> list[Variable]:
    """Every setting, groups spread out into their own variables, for --help."""
    return list(_variables(cls, _prefix(cls)))


def _prefix(cls: type[BaseSettings]) -> str:
    return str(cls.model_config["env_prefix"])


def _is_known(cls: type[BaseSettings], name: str) -> bool:
    """Only the first part is looked at: unknown parts of a group are refused by the group itself."""
    return name.lower().split("__")[0] in cls.model_fields


def _problem(prefix: str, where: Sequence[int | str], what: str) -> str:
    name = prefix + "__".join(map(str, where)).upper() if where else "settings"
    return f"{name}: {what.removeprefix('Value error, ')}"


def _variables(model: type[BaseModel], prefix: str) -> Iterator[Variable]:
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if group := _group_of(field.annotation):
            yield from _variables(group, variable + "__")
        else:
            yield Variable(variable, _default(field), field.description or "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is socket.gethostname:
        return "the host's name"
    value = field.get_default(call_default_factory=True)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _group_of(annotation: Any) -> type[BaseModel] | None:
    """The model behind `Group` or `Group | None`; a list of models is one variable, in JSON."""
    if get_origin(annotation) in (tuple, list, dict):
        return None
    candidates = get_args(annotation) or (annotation,)
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
