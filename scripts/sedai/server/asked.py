"""What a client asks: each field is there and of its kind, or the request is refused in one sentence that names it."""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sedai.core import manifest, wire
from sedai.core.errors import UsageError

_SHOWN = 40


@dataclass(frozen=True)
class Asked:
    """The fields of one request for ``verb``. Each method raises UsageError where the field does not fit.

    One with a ``default`` may be left out.
    """

    verb: str
    fields: dict[str, Any]

    def text(self, name: str, default: str | None = None) -> str:
        """A text that can be written down as UTF-8."""
        return str(self._field(name, "a text", _is_text, default))

    def texts(self, name: str, default: list[str] | None = None) -> list[str]:
        """A list of texts, which may be empty."""
        return list(self._field(name, "a list of texts", lambda value: _is_list(value, _is_text), default))

    def whole(self, name: str) -> int:
        """A whole number, 0 or more."""
        return int(self._field(name, "a whole number", lambda value: type(value) is int and value >= 0, None))

    def number(self, name: str, default: float | None = None) -> float:
        """A number, and not one of those that are none."""
        return float(self._field(name, "a number", _is_number, default))

    def flag(self, name: str) -> bool:
        """True or false; false where it is left out."""
        return bool(self._field(name, "true or false", lambda value: isinstance(value, bool), default=False))

    def packed(self, name: str) -> bytes:
        """Bytes in base64."""
        value: bytes = wire.unpack(self._field(name, "base64", _is_packed, None))
        return value

    def paths(self, name: str) -> list[bytes] | None:
        """Paths relative to a tree, in base64; the empty one stands for the whole tree. None where they are left out."""
        if name not in self.fields:
            return None
        most = wire.MOST_PATHS
        kind = f"a list of 1 to {most} paths in base64"
        packed = self._field(name, kind, lambda value: _is_list(value, _is_packed) and 0 < len(value) <= most, None)
        paths = [wire.unpack(each) for each in packed]
        for path in paths:
            if path and not manifest.is_safe(path):
                raise UsageError(f"The path {wire.text(path)!r} is not one of a tree.")
        return paths

    def _field(self, name: str, kind: str, fits: Callable[[Any], bool], default: object) -> Any:
        value = self.fields.get(name, default)
        if value is None and name not in self.fields:
            raise UsageError(f"The request for `{self.verb}` lacks {name!r}.")
        if not fits(value):
            raise UsageError(
                f"The request for `{self.verb}` has {ascii(value)[:_SHOWN]} for {name!r}, which must be {kind}."
            )
        return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _is_list(value: object, fits: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def _is_packed(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        wire.unpack(value)
    except (binascii.Error, ValueError):
        return False
    return True
