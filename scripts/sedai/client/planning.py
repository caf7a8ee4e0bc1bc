"""Planning: the scan of the sources, held against the base, becomes the plan of a run, a file; nothing is sent yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sedai.client import live, plan, settle, shares
from sedai.client.config import ClientConfig
from sedai.client.databases.lasting import Lasting
from sedai.client.plan import Planned, Tally
from sedai.client.scan import Problem, Scan
from sedai.client.stage import Staged
from sedai.client.state import State
from sedai.core import manifest, wire, workers
from sedai.core.errors import IntegrityError
from sedai.core.manifest import LinkGroup
from sedai.core.progress import Reporter

_FSTAB = Path("/etc/fstab")
# How many entries are looked at between two glances at something else.
_GLANCE_ENTRIES = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class Base:
    """What the generation is built on, None where there is none; ``entries``: about how many it has.

    ``wanted``: what the server has not whole of it.
    """

    manifest: Path | None
    sha256: str
    entries: int
    wanted: frozenset[bytes] = frozenset()


NOTHING = Base(None, "", 0)


@dataclass
class Found:
    """What came of the scan. The plan itself is read with :func:`planned`.

    ``spoiled``: lines of the base's manifest whose files the server has not whole. ``devices``: of each source.
    ``partial``: directories of which not everything could be read, or is to be sent by the directory's name. ``left_out``: what is
    not in the backup because the person said so, in words.
    """

    base: Base
    tally: Tally = field(default_factory=Tally)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    devices: dict[bytes, int] = field(default_factory=dict)
    partial: set[bytes] = field(default_factory=set)
    spoiled: list[bytes] = field(default_factory=list)


def planned(state: State) -> Iterator[Planned]:
    """The plan of the run in flight, in walk order."""
    with state.plan.open("rb") as stream:
        yield from map(plan.decode, stream)


def at_hand(state: State) -> Base | None:
    """The base as this machine remembers it, which the server may not have any more; None where that is damaged."""
    if not state.base.exists():
        return NOTHING
    entries: list[int] = []
    try:
        sha256 = manifest.sha256(state.base, lambda block: entries.append(block.count(b"\n")))
    except IntegrityError:
        return None
    return Base(state.base, sha256, sum(entries))


def make(
    config: ClientConfig,
    state: State,
    staged: Staged,
    base: Base,
    reporter: Reporter,
    glance: Callable[[], None] = lambda: None,
) -> Found:
    """Scan, and write the plan; ``glance`` is called again and again meanwhile, and may end it by raising.

    Raises:
        SedaiError: a source is not there.
        IntegrityError: the base's manifest is not whole.
    """
    return _Planning(config, state, staged, base, reporter, glance).carry_out()


@dataclass
class _Planning:
    config: ClientConfig
    state: State
    staged: Staged
    base: Base
    reporter: Reporter
    glance: Callable[[], None]

    def carry_out(self) -> Found:
        found, scan, lasting = Found(self.base), self._scan(), Lasting(self.config, self.staged.gone)
        with self.state.plan.open("wb") as stream:
            stream.writelines(self._compared(found, scan, lasting))
        if self.base.manifest and found.tally.linked:
            self._plan_other_names(self.base.manifest, found.tally)
        found.problems += scan.problems
        found.problems += [Problem("database", b"", line) for line in lasting.lines()]
        found.devices, found.partial = scan.devices, scan.partial
        self._tell_what_is_not_in_it(found, scan)
        return found

    def _scan(self) -> Scan:
        def had_entries(path: bytes) -> bool:
            below = path + b"/"
            return any(manifest.line_path(line).startswith(below) for line in self._base_lines())

        return Scan(self.config, had_entries)

    def _base_lines(self) -> Iterator[bytes]:
        return manifest.read(self.base.manifest) if self.base.manifest else iter(())

    def _compared(self, found: Found, scan: Scan, lasting: Lasting) -> Iterator[bytes]:
        base, tally = self.base, found.tally
        crew = workers.count() if base.manifest and not base.wanted and base.entries > shares.WORTH_WORKERS else 0
        if base.manifest and crew:
            whole = base.manifest
            comparison = shares.Comparison(scan, self._scan, lasting.keeps, self.config.staged)
            with self.reporter.steps("scan", base.entries) as advance:
                for share in comparison.carry_out(lambda: manifest.blocks(whole), tally, crew):
                    yield share
                    advance(tally.entries)
                    self.glance()
            return
        lines = self._base_lines()
        if base.wanted:
            lines = _spoil(lines, base.wanted, _groups(self._base_lines(), base.wanted), found.spoiled)
        scanned = self.reporter.counted("scan", scan.entries(), base.entries)
        yield from map(plan.encode, plan.compare(self._glancing(scanned), lines, tally, lasting.keeps))

    def _glancing(self, entries: Iterable[T]) -> Iterator[T]:
        for number, entry in enumerate(entries):
            if number % _GLANCE_ENTRIES == 0:
                self.glance()
            yield entry

    def _plan_other_names(self, base_manifest: Path, tally: Tally) -> None:
        """Where one name of an inode is sent, all are."""
        groups = plan.groups_to_send(planned(self.state))
        whole = self.state.plan.with_name("plan.new")
        with whole.open("wb") as stream:
            base = manifest.read(base_manifest)
            for each in plan.with_other_names(planned(self.state), base, groups, settle.is_there, tally):
                stream.write(plan.encode(each))
        whole.rename(self.state.plan)

    def _tell_what_is_not_in_it(self, found: Found, scan: Scan) -> None:
        """What a person may believe to be safe, and is not."""
        unprotected, accepted = live.sort_out(scan.live, self.staged.live, self.config.backup.accept_live)
        found.problems += [Problem("live_database", each.path, each.kind) for each in unprotected]
        found.left_out += live.told(accepted)
        found.left_out += [f"/{wire.text(path)}: another file system" for path in scan.not_entered]
        found.left_out += self.staged.left_out
        sources = tuple(source.path for source in self.config.sources)
        fstab = _FSTAB.read_text(encoding="utf-8", errors="replace") if _FSTAB.exists() else ""
        for point in live.missing_mounts(fstab, sources):
            found.problems.append(Problem("not_mounted", os.fsencode(point)[1:], "it is in /etc/fstab"))


def _groups(lines: Iterator[bytes], wanted: frozenset[bytes]) -> set[LinkGroup]:
    """The inodes of ``wanted``: all names of one must be sent together to stay one."""
    groups = (manifest.decode(line).link_group for line in lines if manifest.line_path(line) in wanted)
    return {group for group in groups if group is not None}


def _spoil(
    lines: Iterator[bytes], wanted: frozenset[bytes], groups: set[LinkGroup], spoiled: list[bytes]
) -> Iterator[bytes]:
    """The base's lines, those of ``wanted`` paths and ``groups`` with a signature that nothing has: sent again.

    ``spoiled`` gets these as they were.
    """
    for line in lines:
        entry = manifest.decode(line)
        if entry.path in wanted or entry.link_group in groups:
            spoiled.append(line)
            yield manifest.encode(entry._replace(ctime_ns=-1))
        else:
            yield line
