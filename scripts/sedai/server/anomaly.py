"""Does a generation look like the work of ransomware, or of an accident? Compared with the one that it is built on."""

from __future__ import annotations

import os
import zlib

from sedai.core.beneath import Beneath
from sedai.core.counted import counted

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


class Compared:
    """What becomes of the base's ``files`` (regular ones): how many are ``removed``, how many have other bytes (``changed``).

    ``pairs``: old and new path of files to sample. A file that is gone and one that is new and begins with its name
    (``report.odt``, ``report.odt.locked``) are a pair.
    """

    def __init__(self, files: int) -> None:
        self.files = files
        self.removed = self.changed = 0
        self.pairs: list[tuple[bytes, bytes]] = []
        self._gone = _Gone()
        self._met = 0
        self._step = 1

    def see(self, path: bytes, old: bytes | None, new: bytes | None) -> None:
        """The next change in walk order: ``path`` with its old and new manifest lines."""
        before, after = _digest(old), _digest(new)
        if before and not after:
            self.removed += 1
            self._gone.add(path)
        elif before and before != after:
            self.changed += 1
            self._pair(path, path)
        elif old is None and after and (was := self._gone.of(path)):
            self._pair(was, path)

    def _pair(self, old: bytes, new: bytes) -> None:
        """Take every n-th pair, n growing, so that the sample stays small and is spread over all."""
        if self._met % self._step == 0:
            self.pairs.append((old, new))
            if len(self.pairs) == 2 * _SAMPLES:
                self.pairs = self.pairs[::2]
                self._step *= 2
        self._met += 1


def judge(compared: Compared, percent: int, base: Beneath, tree: Beneath) -> str:
    """Why this looks wrong, in words; empty where it does not. ``percent``: the share of files that may go or change."""
    if compared.files < FEWEST_FILES:
        return ""
    touched = compared.removed + compared.changed
    if touched * 100 > percent * compared.files:
        return (
            f"{compared.removed} of {counted(compared.files, 'file')} were removed and {compared.changed} changed, which is "
            f"more than {percent} %"
        )
    plain, noisy = _turned_into_noise(compared.pairs, base, tree)
    if noisy >= _FEWEST_NOISY and noisy * 2 > plain:
        return (
            f"{noisy} of {plain} changed files that were looked at hold nothing but noise now, as if somebody had "
            "encrypted them"
        )
    return ""


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


def _digest(line: bytes | None) -> bytes:
    """The XXH128 of a regular file's line; nothing for any other."""
    fields = line.split(b"\t") if line is not None else []
    return fields[11] if fields[1:2] == [b"f"] else b""


def _turned_into_noise(pairs: list[tuple[bytes, bytes]], base: Beneath, tree: Beneath) -> tuple[int, int]:
    """Of a sample of ``pairs``: how many were no noise before, and how many of these are now."""
    plain = noisy = 0
    for old, new in pairs:
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
        try:
            return os.read(descriptor, _SAMPLE_BYTES)
        finally:
            os.close(descriptor)
    except OSError:  # lost since, or something else by now, or the disk can't read it; the check names it
        return b""
