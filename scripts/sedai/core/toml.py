"""TOML into frozen dataclasses, strictly: an unknown key is refused with the nearest valid one."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from sedai.core.errors import ConfigError

T = TypeVar("T")


def load(kind: type[T], path: Path) -> T:
    """Read the TOML file ``path`` as the dataclass ``kind``.

    Raises:
        ConfigError: the file is missing, not TOML, or does not fit ``kind``; the text names the key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"The configuration {path} is not there.", "Run `ansible-playbook site.yml`, or name it with --config."
        ) from error
    except OSError as error:
        raise ConfigError(f"The configuration {path} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The configuration {path} can't be read: {error}") from error
    try:
        return decode(kind, table, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from error


def decode(kind: type[T], table: dict[str, Any], where: str) -> T:
    """Turn ``table`` into the dataclass ``kind``; ``where`` is the key's path for messages."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"Did you mean `{where}{near[0]}`?" if near else f"Valid here: {', '.join(sorted(fields))}."
            raise ConfigError(f"unknown key `{where}{_shown(key)}`.", hint)
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], f"{where}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"the key `{where}{name}` is missing.")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"`{where.rstrip('.') or 'the file'}`: {_shown(str(error))}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _value(next(kind for kind in arguments if kind is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _value(arguments[1], item, f"{where}.{_shown(key)}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return decode(typing.cast(type, hint), value, f"{where}.")
    if hint is Path and isinstance(value, str):
        return _path(value, where)
    # TOML's whole numbers have 64 bits, Python's have no end.
    too_long = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    if origin is None and isinstance(value, hint) and not (hint is int and isinstance(value, bool)) and not too_long:
        return value
    name = getattr(origin or hint, "__name__", str(hint))
    expected = {
        "str": "a string",
        "int": "a whole number",
        "bool": "true or false",
        "tuple": "a list",
        "Path": "a path",
    }
    raise ConfigError(f"`{where}` must be {expected.get(name, 'a table')}, not {value!r:.80}.")


def _path(value: str, where: str) -> Path:
    try:
        if "\0" not in value:
            return Path(value).expanduser()
    except RuntimeError:
        pass  # ~ of nobody
    raise ConfigError(f"`{where}` must be a path, not {value!r:.80}.")


def _shown(text: str) -> str:
    """``text`` on one line, however it was written."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
