"""Settings from environment variables: read once and checked as a whole. Every mistake is named, a value never."""

from __future__ import annotations

import difflib
import os
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar, get_args, get_origin, runtime_checkable

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from runtime.errors import Misconfigured

S = TypeVar("S", bound="Environment")


class Variable(NamedTuple):
    """One setting, as --help shows it. `default` is "required" for a setting without one, and empty for None."""

    name: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """Marks a setting as the path of a file with certificates. `unreadable_files` reads it. `live`: as below."""

    live: bool = False

    def problem(self, path: str) -> str | None:
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError:
            return "the file contains no certificate in PEM format"
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        return None


@dataclass(frozen=True, slots=True)
class SecretFile:
    """Marks a setting as the path of a file with a secret. `live`: it is read each time that the secret is needed, so
    that a new one needs no new start."""

    live: bool = False

    def problem(self, path: str) -> str | None:
        try:
            read_secret(path)
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        except ValueError as error:
            return f"the file {error}"
        return None


CaFile = Annotated[str, CertificateFile()]


def read_secret(path: str) -> str:
    """The text of a file without the line break at its end. Raises OSError; ValueError if there is none."""
    try:
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None
    if not text:
        raise ValueError("is empty")
    return text


def secret_in(value: SecretStr | None, file: str | None) -> str:
    """From the settings, or from its file as it is now. Raises OSError; ValueError if the file is empty."""
    return value.get_secret_value() if value is not None else read_secret(str(file))


class _Source(EnvSettingsSource):
    """Passes invalid JSON on as text, so that validation reports it together with all other mistakes."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Environment(BaseSettings):
    """Base class of settings that come from the environment alone. Nested names are joined with two underscores:
    `WRITER_BROKER__BOOTSTRAP_SERVERS`.
    """

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    def model_post_init(self, _: Any) -> None:
        for group in vars(self).values():
            if isinstance(group, NamesVariables):
                group.read_with(_prefix(type(self)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the base class's arguments
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Source(settings_cls)


def read(cls: type[S], *, help_command: str, environ: Mapping[str, str] | None = None, **overrides: Any) -> S:
    """The settings, with `overrides` applied. `environ` is searched for unknown names only. Raises Misconfigured."""
    given = os.environ if environ is None else environ
    names = _Names(_prefix(cls), describe(cls), help_command)
    unknown = [
        names.unknown(name) for name in sorted(given) if name.upper().startswith(names.prefix) and not names.knows(name)
    ]
    try:
        settings = cls(**overrides)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        wrong = [_problem(cls, each, names, given) for each in found if not _follows_from_another(each, found)]
        raise Misconfigured([*unknown, *dict.fromkeys(filter(None, wrong))]) from None
    if unknown:
        raise Misconfigured(unknown)
    return settings


def describe(cls: type[BaseSettings]) -> list[Variable]:
    """Every setting for --help, with one variable for each member of a group."""
    return list(_variables(cls, _prefix(cls)))


def unreadable_files(settings: BaseSettings) -> list[str]:
    """Every file of certificates or secrets that cannot be used, by its variable. Call it at start: reading the
    settings opens no file."""
    prefix = _prefix(type(settings))
    found = [(variable, mark.problem(path)) for variable, path, mark in _files(settings, prefix)]
    problems = [f"{variable}: {problem}" for variable, problem in found if problem]
    return problems or [f"{variable}: {problem}" for variable, problem in _unusable(settings, prefix)]


def files_read_once(settings: BaseSettings) -> dict[str, str]:
    """The files whose content a running process keeps: variable to path."""
    return {variable: path for variable, path, mark in _files(settings, _prefix(type(settings))) if not mark.live}


class _Names:
    """The names of all variables, and the most similar one to a misspelt name."""

    def __init__(self, prefix: str, variables: Sequence[Variable], help_command: str) -> None:
        self.prefix = prefix
        self.of = {each.name: each for each in variables}
        self._groups = {name.rsplit("__", depth)[0] for name in self.of for depth in range(1, name.count("__") + 1)}
        self._help = help_command

    def knows(self, name: str) -> bool:
        """True for a variable, and for a group, which may be given as one JSON object."""
        return name.upper() in self.of or name.upper() in self._groups

    def unknown(self, name: str) -> str:
        near = [(_nearness(name.upper(), known, self.prefix), known) for known in self.of]
        nearness, meant = max(near, default=(0.0, ""))
        return f"{name}: is not a known setting; {f'did you mean {meant}?' if nearness else f'see {self._help}'}"

    def required(self, name: str, given: Mapping[str, str]) -> str:
        """The problem of a missing setting: what it is for, and a similar variable that is set."""
        known = [each for each in given if not each.upper().startswith(self.prefix)]
        almost = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        hint = f" ({almost[0]} is set: is that a slip?)" if almost else ""
        return f"{name}: is required: {self.of[name].description.rstrip('.')}{hint}"


def _nearness(name: str, known: str, prefix: str) -> float:
    """0 if the names are too different. A name is mostly its group, so the last part must be similar, or nearly all."""
    name, known = name.removeprefix(prefix), known.removeprefix(prefix)
    whole = _ratio(name.replace("__", "_"), known.replace("__", "_"))
    last = _ratio(name.split("__")[-1], known.split("__")[-1])
    return max(whole, last) if last > _ALIKE or whole > _ALMOST_ALIKE else 0.0


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


_ALIKE, _ALMOST_ALIKE = 0.65, 0.9


def _prefix(cls: type[BaseSettings]) -> str:
    return str(cls.model_config["env_prefix"])


def _problem(cls: type[BaseSettings], error: ErrorDetails, names: _Names, given: Mapping[str, str]) -> str | None:
    """None if it was reported already, as an unknown name."""
    name, rest = _place(cls, error["loc"], names.prefix)
    match error["type"]:
        case "extra_forbidden" if not rest:
            return None if any(each.upper() == name for each in given) else names.unknown(name)
        case "missing" if not rest:
            inside = [each for each in names.of if each == name or each.startswith(f"{name}__")]
            needed = [each for each in inside if names.of[each].default == "required"]
            return "\n".join(names.required(each, given) for each in needed)
        case "tuple_type" | "list_type" | "dict_type" | "model_type" | "model_attributes_type" if not rest:
            return f"{name}: must be JSON: {_example(names, name)}"
        case "union_tag_invalid":  # whose own text repeats what was given
            context = error["ctx"]
            return f"{name}{rest}.{context['discriminator'].strip(chr(39))}: must be one of {context['expected_tags']}"
        case "missing":
            return f"{name}{rest}: is required"
    return f"{name}{rest}: {error['msg'].removeprefix('Value error, ')}"


def _follows_from_another(error: ErrorDetails, found: Sequence[ErrorDetails]) -> bool:
    """True if a list counts as too short only because each of its members is wrong."""
    where = error["loc"]
    return error["type"] == "too_short" and any(each["loc"][: len(where)] == where for each in found if each != error)


def _example(names: _Names, name: str) -> str:
    if name in names.of:
        return names.of[name].description
    inside = next((each for each in names.of if each.startswith(f"{name}__")), name)
    return f'{{"{inside.rsplit("__", 1)[-1].lower()}": …}}, or one variable for each member, as {inside}'


def _place(cls: type[BaseModel], where: Sequence[int | str], prefix: str) -> tuple[str, str]:
    """The variable, and the path inside its JSON."""
    model: type[BaseModel] | None = cls
    name = prefix
    for depth, part in enumerate(where):
        name += str(part).upper()
        field = model.model_fields.get(str(part)) if model else None
        model = _group_of(field.annotation) if field else None
        if model is None:
            return name, "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in where[depth + 1 :])
        name += "__"
    return name.removesuffix("__") if where else "settings", ""


def _variables(model: type[BaseModel], prefix: str) -> Iterator[Variable]:
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if group := _group_of(field.annotation):
            yield from _variables(group, variable + "__")
        else:
            yield Variable(variable, _default(field), field.description or "")


def _files(model: BaseModel, prefix: str) -> Iterator[tuple[str, str, CertificateFile | SecretFile]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _files(value, f"{prefix}{name.upper()}__")
        elif value is not None and (mark := _mark_of(field)):
            yield prefix + name.upper(), value, mark


def _unusable(model: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    """Of groups that know more about their files than that they can be read."""
    if isinstance(model, ChecksFiles):
        yield from ((prefix + name.upper(), problem) for name, problem in model.unusable_files())
    for name in type(model).model_fields:
        if isinstance(value := getattr(model, name), BaseModel):
            yield from _unusable(value, f"{prefix}{name.upper()}__")


@runtime_checkable
class ChecksFiles(Protocol):
    def unusable_files(self) -> Iterator[tuple[str, str]]:
        """Names of settings, and what is wrong with their files, which can all be read."""
        ...


@runtime_checkable
class NamesVariables(Protocol):
    def read_with(self, prefix: str) -> None:
        """Hears the prefix of the program's variables, for problems that come up later."""
        ...


def _mark_of(field: FieldInfo) -> CertificateFile | SecretFile | None:
    marks = [*field.metadata, *(mark for each in get_args(field.annotation) for mark in get_args(each))]
    return next((mark for mark in marks if isinstance(mark, CertificateFile | SecretFile)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is socket.gethostname:
        return "the host name"
    value = field.get_default(call_default_factory=True)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _group_of(annotation: Any) -> type[BaseModel] | None:
    """The model in `Group` or `Group | None`. A list of models is one variable, in JSON."""
    if get_origin(annotation) in (tuple, list, dict):
        return None
    candidates = get_args(annotation) or (annotation,)
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
