"""Verify: the manifest against what is stored. Each inode is read once, however many generations share it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator

from sedai.core import lock, manifest, workers
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError
from sedai.core.generation import Generation
from sedai.core.selection import Selection
from sedai.server import known
from sedai.server.entries import Entries, Listed, Looked, Piece, Problem, Tally
from sedai.server.listing import Listing, Seen, list_directories, surplus
from sedai.server.store import MANIFEST, NOTE, ClientStore
from sedai.server.stored import sha256

LEVELS = ("quick", "full")
_PIECE = 500
# Fewer are looked at before a process would have started.
_WORTH_WORKERS = 2000
# What is wrong with an entry of the base that goes away when the client sends it again.
_HEALED = frozenset({"missing", "content", "size", "mtime", "kind", "attributes", "unreadable"})


class Verifier:
    """Checks generations one after the other, remembering what it has looked at."""

    def __init__(
        self,
        store: ClientStore,
        level: str,
        progress: Callable[[Tally], None],
        *,
        reads: Callable[[int], bool] = lambda inode: True,
        from_disk: bool = False,
    ) -> None:
        """``reads``: whether the full check reads the file with this inode; ``from_disk``: see :class:`Entries`."""
        self._store = store
        self._entries = Entries(full=level == "full", reads=reads, from_disk=from_disk)
        self._progress = progress
        self._seen = Seen()
        self.tally = Tally()

    def generations(self, chosen: Iterable[Generation]) -> Iterator[Problem]:
        """All problems of ``chosen``; paths of the newest generation that lack bytes are noted to be sent again."""
        for generation in chosen:
            yield from self._held(generation, self._generation(generation))

    def paths(self, generation: Generation, paths: Iterable[bytes]) -> Iterator[Problem]:
        """The problems of the entries at or below ``paths`` of ``generation``, and of its manifest; nothing else is read."""
        yield from self._held(generation, self._chosen(generation, paths))

    def _held(self, generation: Generation, problems: Iterator[Problem]) -> Iterator[Problem]:
        record = self._store.record_path(generation)
        wanted: list[bytes] = []
        with contextlib.ExitStack() as held:
            with contextlib.suppress(FileNotFoundError):
                held.enter_context(lock.shared(record))
            if not record.exists():
                if self._store.directory(generation).exists():  # else it was pruned since it was listed
                    yield Problem(str(generation), "manifest", b"", "a record", "none")
                return
            for problem in problems:
                if problem.code == "manifest":
                    with contextlib.suppress(OSError):  # a full disk: the next check notes it
                        self._store.build_on_no_more(generation)
                if problem.code in _HEALED:
                    wanted.append(problem.path)
                yield problem
        if wanted and generation == self._store.base():
            self._store.want_again(wanted)

    def _chosen(self, generation: Generation, paths: Iterable[bytes]) -> Iterator[Problem]:
        name, stored = str(generation), self._store.manifest(generation)
        try:
            totals = manifest.totals(stored)
        except IntegrityError as error:
            yield Problem(name, "manifest", b"", "a readable manifest", str(error))
            return
        self.tally.manifests[name] = totals.sha256
        lines = (taken.line for taken in Selection(paths).take(manifest.read(stored)) if taken.chosen)
        yield from self._look(generation, _pieces(name, self._root(generation), lines), totals.entries)

    def _root(self, generation: Generation) -> bytes:
        return os.fsencode(self._store.tree(generation))

    def _look(self, generation: Generation, pieces: Iterable[Piece], entries: int) -> Generator[Problem, None, int]:
        """The problems of ``pieces``; ``entries``: about how many there are. Returns how many are in the tree."""
        name, root = str(generation), self._root(generation)
        found = 0
        crew = workers.readers() if entries > _WORTH_WORKERS else 0
        for looked in workers.spread(self._work, pieces, crew):
            self._add(looked)
            found += looked.listed.found
            added = (surplus(name, root, path) for path in looked.listed.surplus)
            for problem in itertools.chain(looked.problems, itertools.chain.from_iterable(added)):
                found += problem.code == "added"
                self._seen.doubt(problem.path)
                yield problem
            self._progress(self.tally)
        return found

    def _add(self, looked: Looked) -> None:
        """Count what was looked at, and remember it."""
        self.tally.entries += looked.listed.entries
        self.tally.files += looked.listed.files
        self.tally.read_files += looked.read_files
        self.tally.read_bytes += looked.read_bytes
        for directory, hashes in looked.listed.hashes:
            self._seen.note(directory, hashes)
        for path in looked.doubted:
            self._seen.doubt(path)

    def _work(self, piece: Piece) -> Looked:
        list_directories(piece)
        return self._entries.look(piece)

    def _generation(self, generation: Generation) -> Iterator[Problem]:
        name, stored = str(generation), self._store.manifest(generation)
        try:
            record = self._store.record(generation)
            beside = self._beside(generation, record.stored_sha256)
            if MANIFEST in beside or MANIFEST not in record.stored_sha256:
                manifest.totals(stored)  # whether it is whole; as it was sealed it is
            digest = hashlib.sha256(manifest.HEADER)
            listing = Listing(name, self._root(generation), self._seen)
            pieces = listing.divide(_digested(manifest.blocks(stored), digest))
            found = yield from self._look(generation, pieces, record.entries)
        except IntegrityError as error:
            yield Problem(name, "manifest", b"", "a readable manifest and record", str(error))
            return
        self.tally.manifests[name] = is_now = digest.hexdigest()
        if is_now != record.manifest_sha256:
            yield Problem(name, "manifest", b"", f"SHA-256 {record.manifest_sha256}", f"SHA-256 {is_now}")
        for path, instead in beside.items():
            yield Problem(name, "beside", b"", f"{path} with SHA-256 {record.stored_sha256[path]}", instead)
        if found != record.entries:
            yield Problem(name, "count", b"", counted(record.entries, "entry"), counted(found, "entry"))

    def _beside(self, generation: Generation, expected: dict[str, str]) -> dict[str, str]:
        """What is there instead of the files beside the tree: the manifest as it is compressed, and what tells how to restore."""
        found = {}
        for name in (MANIFEST, NOTE):
            if name not in expected:
                continue  # sealed by an earlier version
            try:
                found[name] = f"SHA-256 {sha256(self._store.directory(generation) / name)}"
            except OSError as error:
                found[name] = error.strerror or str(error)
        return {name: instead for name, instead in found.items() if instead != f"SHA-256 {expected[name]}"}


def _pieces(name: str, root: bytes, lines: Iterator[bytes]) -> Iterator[Piece]:
    while some := list(itertools.islice(lines, _PIECE)):
        files = sum(line.startswith(b"f\t", line.index(b"\t") + 1) for line in some)
        yield Piece(name, root, lines=some, inodes=[0] * len(some), listed=Listed(len(some), files))


def _digested(blocks: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block


def gone(store: ClientStore) -> Iterator[Problem]:
    """Generations that nobody pruned, and that are not there."""
    for generation, note in known.gone(store):
        expected = f"a generation that nobody pruned; if you removed it yourself, remove {note} too"
        yield Problem(str(generation), "gone", b"", expected, "nothing")


def rising(generations: list[Generation]) -> Iterator[Problem]:
    """Generations whose times do not rise with their sequence numbers."""
    for earlier, later in itertools.pairwise(generations):
        if later.time < earlier.time:
            yield Problem(str(later), "time", b"", f"later than {earlier}", str(later))
