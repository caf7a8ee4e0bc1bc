"""Does a generation look like the work of ransomware, or of an accident? Compared with the one that it is built on."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from sedai.core import manifest
from sedai.core.wire import Change
from sedai.server.beneath import Beneath

# Trees of a few files change wholly now and then.
FEWEST_FILES = 20
_FEWEST_NOISY = 10
_SAMPLES = 64
_SAMPLE_BYTES = 64 * 1024
_SMALLEST_SAMPLE = 512
_NOISE = 0.97
_PLAIN = 0.90
# Compressed by an honest program: gzip, bzip2, xz, zstd, lz4, zip, 7z, rar, PNG, JPEG.
_PACKED = (
    *(b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"PK\x03\x04"),
    *(b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x89PNG", b"\xff\xd8\xff"),
)


@dataclass
class Compared:
    """What became of the base's regular files: ``changed`` have other bytes now. ``pairs``: old and new path to sample.

    A file that is gone and one that is new and begins with its name (``report.odt``, ``report.odt.locked``) are a pair.
    """

    files: int = 0
    removed: int = 0
    changed: int = 0
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)


def judge(compared: Compared, percent: int, base: Beneath, tree: Beneath) -> str:
    """Why this looks wrong, in words; empty where it does not. ``percent``: the share of files that may go or change."""
    if compared.files < FEWEST_FILES:
        return ""
    touched = compared.removed + compared.changed
    if touched * 100 > percent * compared.files:
        return (
            f"{compared.removed} of {compared.files} files were removed and {compared.changed} changed, which is more than "
            f"{percent} %"
        )
    plain, noisy = _turned_into_noise(compared.pairs, base, tree)
    if noisy >= _FEWEST_NOISY and noisy * 2 > plain:
        return (
            f"{noisy} of {plain} changed files that were looked at hold nothing but noise now, as if somebody had "
            "encrypted them"
        )
    return ""


def compare(base_lines: Iterator[bytes], changes: Iterator[Change]) -> Compared:
    """Join the base's manifest with the changes, both in walk order."""
    compared = Compared()
    gone = _Gone()
    line = next(base_lines, None)
    for change in changes:
        wanted = manifest.order(change.path)
        while line is not None and manifest.order(manifest.line_path(line)) < wanted:
            compared.files += _is_file(line)
            line = next(base_lines, None)
        old = None
        if line is not None and manifest.line_path(line) == change.path:
            compared.files += _is_file(line)
            old = manifest.decode(line) if _is_file(line) else None
            line = next(base_lines, None)
        new = manifest.decode(change.line) if change.line is not None and _is_file(change.line) else None
        if old is not None and new is None:
            compared.removed += 1
            gone.add(old.path)
        elif old is not None and new is not None and old.xxh128 != new.xxh128:
            compared.changed += 1
            compared.pairs.append((old.path, new.path))
        elif old is None and new is not None and (was := gone.of(new.path)):
            compared.pairs.append((was, new.path))
    compared.files += sum(_is_file(rest) for rest in ([line] if line is not None else []))
    compared.files += sum(map(_is_file, base_lines))
    return compared


class _Gone:
    """The removed files of the directory that the changes are in; memory is that of one directory's names."""

    def __init__(self) -> None:
        self._directory = b""
        self._names: set[bytes] = set()

    def add(self, path: bytes) -> None:
        directory, _, name = path.rpartition(b"/")
        if directory != self._directory:
            self._directory, self._names = directory, set()
        self._names.add(name)

    def of(self, path: bytes) -> bytes:
        """The removed file whose name the new one's begins with, up to a dot; empty if there is none."""
        directory, _, name = path.rpartition(b"/")
        while directory == self._directory and b"." in name:
            name = name.rpartition(b".")[0]
            if name in self._names:
                return b"/".join(filter(None, (directory, name)))
        return b""


def _is_file(line: bytes) -> bool:
    return line.split(b"\t", 2)[1] == b"f"


def _turned_into_noise(pairs: list[tuple[bytes, bytes]], base: Beneath, tree: Beneath) -> tuple[int, int]:
    """Of a sample of ``pairs``: how many were no noise before, and how many of these are now."""
    plain = noisy = 0
    step = max(1, len(pairs) // _SAMPLES)
    for old, new in pairs[::step]:
        before = _sample(base, old)
        if len(before) < _SMALLEST_SAMPLE or _is_noise(before, _PLAIN):
            continue
        plain += 1
        after = _sample(tree, new)
        if len(after) >= _SMALLEST_SAMPLE and not after.startswith(_PACKED) and _is_noise(after, _NOISE):
            noisy += 1
    return plain, noisy


def _is_noise(data: bytes, share: float) -> bool:
    return len(zlib.compress(data, 1)) > share * len(data)


def _sample(tree: Beneath, path: bytes) -> bytes:
    try:
        descriptor = tree.open(path)
    except OSError:  # lost since; the check names it
        return b""
    try:
        return os.read(descriptor, _SAMPLE_BYTES)
    finally:
        os.close(descriptor)
