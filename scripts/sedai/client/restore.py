"""Restore: files of a generation, brought back by rsync and compared with the manifest afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sedai.client import catalog, damage, find, pulls, room, scratch, send, target
from sedai.client.catalog import generations
from sedai.client.comparison import Comparison
from sedai.client.connection import HOST_ALIAS, SSH_FAILED, Connection
from sedai.client.damage import Problem
from sedai.client.destination import OTHERWISE, check_target
from sedai.client.fetch import DiskFullError, Fetch
from sedai.client.nearest import nearest
from sedai.client.placement import SENT, SHOWN, Existing, Placement, shown
from sedai.client.pulls import Pull
from sedai.client.state import State
from sedai.client.unfinished import Leftovers, Memory, Progress
from sedai.core import manifest, wire
from sedai.core.errors import IntegrityError, ProcessError, SedaiError, ServerError, UnreachableError, UsageError
from sedai.core.progress import Reporter
from sedai.core.selection import Selection

_SHOWN_COMPLAINTS = 10
_SHOWN_IN_THE_WAY = 5
_MAKE_ROOM = "The disk is full. First make room on it. "
_READ_BY_NAME = 1000
# As rsync ends where it could not write.
_FULL = 11


@dataclass
class Restored:
    """What a restore did, or (a dry run) would do: counts, and lines about what is not as the manifest says.

    ``files`` and ``bytes`` count all chosen files, ``there`` those that were there already with the very same bytes;
    ``kept``: entries at whose place something else was, and stays; they are in no other count.
    ``refused``: why a restore would not be done as it was asked for.
    """

    generation: str
    entries: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[str] = field(default_factory=list)
    there: int = 0
    replaced: int = 0
    kept: int = 0
    send_bytes: int = 0
    refused: list[str] = field(default_factory=list)


def restore(
    connection: Connection,
    state: State,
    record: dict[str, Any],
    paths: Sequence[Path],
    target: Path | None,
    *,
    reporter: Reporter,
    existing: Existing = Existing.REFUSE,
    dry_run: bool = False,
    accept_damaged: bool = False,
    ignore_space: bool = False,
) -> Restored:
    """Bring ``paths`` of the generation of ``record`` back, below ``target`` or (None) to where they were.

    Raises:
        UsageError: a path is not there; something else is at a place, and ``existing`` refuses that; or there is not
            room enough, and ``ignore_space`` is not set.
        IntegrityError: the server's manifest is not the one that was sealed, or bytes are damaged.
        ProcessError: rsync broke off; the same call goes on from there.
        LockedError: the same restore is running.
    """
    wanted = [catalog.tree_path(path) for path in paths]
    root = os.fsencode(os.path.abspath(target)) if target else b""
    memory = Memory(state.root / "restores", str(record["generation"]), wanted, root)
    with scratch.directory() as directory, catalog.fetched(connection, state, record) as lines:
        work = _Restore(
            connection, state, record, wanted, root, lines, directory, reporter, existing, memory, ignore_space
        )
        if dry_run:
            return work.try_out()
        with memory.held() as work.running:
            return work.carry_out(accept_damaged=accept_damaged)


@dataclass
class _Restore:
    """One restore; ``lines`` is the generation's manifest, ``root`` is prefixed to the paths in it.

    ``running``: the lock's descriptor.
    """

    connection: Connection
    state: State
    record: dict[str, Any]
    wanted: list[bytes]
    root: bytes
    lines: Path
    directory: Path
    reporter: Reporter
    existing: Existing
    memory: Memory
    ignore_space: bool
    running: int = -1

    @property
    def generation(self) -> str:
        """Its name."""
        return str(self.record["generation"])

    def try_out(self) -> Restored:
        """What a restore would do; nothing is written."""
        unfinished = self.memory.recall()
        refused: list[SedaiError] = []
        try:
            self._check_target(unfinished)
        except UsageError as error:
            refused.append(error)
        placement = self._place(unfinished or self._new_progress())
        checks = [self._refuse_what_differs] if not refused else []
        for check in [*checks, self._refuse_without_room]:
            try:
                check(placement)
            except UsageError as error:
                refused.append(error)
        done = self._counted(placement)
        problems = self._damaged(placement)
        if problems:
            refused.append(self._refusal(problems))
        done.refused = list(map(str, refused))
        done.findings = [*self._kept(placement), *_left_out(placement).lines()]
        return done

    def carry_out(self, *, accept_damaged: bool) -> Restored:
        """Restore; see :func:`restore`."""
        unfinished = self.memory.recall()
        self._check_target(unfinished)
        progress = unfinished or self._new_progress()
        placement = self._place(progress)
        self._refuse_what_differs(placement)
        problems = self._damaged(placement)
        if problems and not accept_damaged:
            raise self._refusal(problems)
        if unfinished:
            self._adopt(placement, unfinished)
        self._refuse_without_room(placement)

        self.memory.remember(progress)
        if self.root:
            os.makedirs(self.root, exist_ok=True)
        done = self._counted(placement)
        complaints = self._transfer(placement, problems)
        findings = _left_out(placement)
        self._make_links(placement)
        self._compare(placement, problems, findings, progress, resumed=unfinished is not None)
        self._keep_times(progress)
        done.findings = [*self._kept(placement), *(f"damaged on the server: {problem}" for problem in problems.values()),
                         *complaints, *findings.lines()]  # fmt: skip
        self.memory.forget()
        return done

    def _check_target(self, unfinished: Progress | None) -> None:
        try:
            check_target(self.root, unfinished is not None, self.existing)
        except UsageError as error:
            raise self._with_what_broke_off(error) from error

    def _refuse_what_differs(self, placement: Placement) -> None:
        if self.existing is Existing.REFUSE and placement.tally.in_the_way:
            raise self._with_what_broke_off(_in_the_way(placement))

    def _with_what_broke_off(self, error: UsageError) -> UsageError:
        """Names a restore of the same from another generation that broke off: ``latest`` may be another one since."""
        for record in reversed(generations(self.connection)):
            name = str(record["generation"])
            if name != self.generation and self.memory.of(name).recall():
                return UsageError(
                    error.message,
                    f"A restore of {name} broke off here: add --generation {name} to go on with it. Else: {error.hint}",
                )
        return error

    def _refuse_without_room(self, placement: Placement) -> None:
        if not self.ignore_space:
            room.refuse_without(room.needed(placement.rows(), self.root))

    def _kept(self, placement: Placement) -> list[str]:
        """What was there and stays, one line each."""
        if self.existing is not Existing.KEEP:
            return []
        tally = placement.tally
        lines = [f"{wire.text(self.root)}/{wire.text(path)} was there and is not as in this generation: kept as it is"
                 for path in tally.first_in_the_way]  # fmt: skip
        if tally.in_the_way > SHOWN:
            lines.append(f"{tally.in_the_way - SHOWN} more entries were there and are not as in this generation: kept")
        return lines

    def _new_progress(self) -> Progress:
        # A target of its own is ours altogether: its directories get their old attributes, whoever made them.
        return Progress(time.time(), {b""} if self.root and self.existing is Existing.REFUSE else set())

    def _place(self, progress: Progress) -> Placement:
        """Look at what is there.

        Raises:
            UsageError: a path is not in this generation.
        """
        selection = Selection(self.wanted)
        placement = Placement(self.directory / "placement", self.root, progress, self.existing)
        placement.decide(selection.take(manifest.read(self.lines)))
        if selection.unmet:
            raise self._unknown(min(selection.unmet, key=manifest.order))
        return placement

    def _unknown(self, path: bytes) -> UsageError:
        near = nearest(path, map(manifest.line_path, manifest.read(self.lines)))
        hints = [find.near_names(near)]
        try:
            elsewhere = [match.generation for match in find.ask(self.connection, paths=[path]).matches]
        except UsageError:
            elsewhere = []  # an older server can't tell
        if elsewhere:
            span = (
                elsewhere[0]
                if len(elsewhere) == 1
                else f"{elsewhere[0]} to {elsewhere[-1]} ({len(elsewhere)} generations)"
            )
            hints.insert(0, f"It is in {span}: restore_data.py restore --generation {elsewhere[-1]} …")
        else:
            hints.insert(0, "It is in no other generation either.")
        return UsageError(f"/{wire.text(path)} is not in {self.generation}.", "\n".join(hints))

    def _damaged(self, placement: Placement) -> dict[bytes, Problem]:
        """What the server can't give back as it was, of what would be sent."""
        paths = self._to_be_read(placement)
        if not paths:
            return {}
        with self.reporter.steps("check", placement.tally.entries) as advance:
            problems = damage.read(
                self.connection, self.generation, catalog.trusted_digest(self.state, self.record), paths, advance
            )
        if not problems:
            return {}
        return {placed.entry.path: problems[placed.entry.path] for placed in placement.entries()
                if placed.action in SENT and placed.entry.path in problems}  # fmt: skip

    def _to_be_read(self, placement: Placement) -> list[bytes]:
        """What the server is asked to read: the entries to be sent where they are few, else all that is chosen."""
        sent = (manifest.line_path(line) for action, line in placement.rows()
                if action in SENT and line.split(b"\t", 2)[manifest.KIND] != b"d")  # fmt: skip
        few = list(itertools.islice(sent, _READ_BY_NAME + 1))
        return few if len(few) <= _READ_BY_NAME else self.wanted

    def _refusal(self, problems: dict[bytes, Problem]) -> IntegrityError:
        records = generations(self.connection)
        remedied = damage.remedies(
            self.connection, self.generation, records, partial(catalog.trusted_digest, self.state), problems
        )
        return damage.refusal(self.generation, list(problems.values()), remedied)

    def _counted(self, placement: Placement) -> Restored:
        tally = placement.tally
        done = Restored(self.generation, tally.entries, tally.files, tally.size, there=tally.there_files,
                        send_bytes=tally.send_bytes)  # fmt: skip
        if self.existing is Existing.KEEP:
            done.kept = tally.in_the_way
        else:
            done.replaced = tally.in_the_way
        return done

    def _adopt(self, placement: Placement, unfinished: Progress) -> None:
        leftovers = Leftovers(unfinished.began)
        for action, entry in placement.entries():
            if entry.kind == "f" and action in SENT:
                leftovers.adopt(self.root + b"/" + entry.path)

    def _transfer(self, placement: Placement, problems: Mapping[bytes, Problem]) -> list[str]:
        """Bring what is missing; returns rsync's complaints.

        Raises:
            ProcessError: it broke off.
        """
        tally = placement.tally
        complaints: list[str] = []
        lost = {path for path, problem in problems.items() if not problem.is_there}
        keep_parts = not placement.has_parts_name
        with self.reporter.transfer("restore", tally.send_files, tally.send_bytes) as advance:
            try:
                left = Fetch(placement, self.root, problems).carry_out(self.connection, self.generation, advance)
            except DiskFullError as error:
                raise self._broken_off(str(error), _FULL, _MAKE_ROOM) from error
            except (ServerError, UnreachableError) as error:
                raise self._broken_off(error.message, SSH_FAILED) from error
            except OSError as error:
                raise self._broken_off(str(error), _FULL) from error
            for pull in pulls.plan(placement, lost, left):
                if pull.recursive:
                    pulls.make_way(self.root, pull)
                complaints += self._judged(self._pull(pull, advance, keep_parts))
        return _shortened(complaints)

    def _pull(self, pull: Pull, advance: Callable[[int], None], keep_parts: bool) -> send.Sent:
        argv = send.pull_arguments(
            self.connection.remote_shell,
            f"{HOST_ALIAS}:/{self.generation}/",
            os.fsdecode(self.root + b"/" + pull.top),
            recursive=pull.recursive,
            ignore_existing=pull.recursive or self.existing is not Existing.REPLACE,
            keep_parts=keep_parts,
        )
        sent = send.Sent()
        send.push(argv, pull.listed(), sent, advance, (self.running,))
        return sent

    def _judged(self, sent: send.Sent) -> list[str]:
        """The complaints of an rsync that came to its end."""
        if sent.status in (0, 23, 24):
            return sent.complaints
        if self.generation not in {str(record["generation"]) for record in generations(self.connection)}:
            raise SedaiError(
                f"The generation {self.generation} was pruned while it was restored.",
                "Restore from another one: restore_data.py list.",
            )
        words = f"rsync status {sent.status}: {' '.join(sent.complaints[-4:])}"
        raise self._broken_off(words, sent.status, _MAKE_ROOM if room.is_lacking(sent.complaints) else "")

    def _broken_off(self, words: str, status: int, first: str = "") -> ProcessError:
        hint = f"{first}Run the same command again, with --generation {self.generation}: it goes on from there."
        return ProcessError(f"Restoring broke off: {words}", status, "", hint)

    def _make_links(self, placement: Placement) -> None:
        for path, leader in placement.links():
            with contextlib.suppress(OSError):  # the comparison tells what was not linked
                target.link(self.root + b"/" + leader, self.root + b"/" + path)

    def _compare(
        self,
        placement: Placement,
        problems: dict[bytes, Problem],
        findings: target.Findings,
        progress: Progress,
        *,
        resumed: bool,
    ) -> None:
        comparison = Comparison(placement, self.root, spared=problems, resumed=resumed, is_ours=progress.is_ours)
        with self.reporter.steps("compare", placement.tally.entries) as advance:
            comparison.carry_out(findings, advance)

    def _keep_times(self, progress: Progress) -> None:
        """The directories that were there already have the times that they had."""
        for directory, moment in progress.times.items():
            path = self.root + b"/" + directory
            try:
                os.utime(path, ns=(os.stat(path).st_atime_ns, moment))
            except OSError:
                continue  # another's directory: nothing was promised about it


def _in_the_way(placement: Placement) -> UsageError:
    tally = placement.tally
    first = shown(tally.first_in_the_way[:_SHOWN_IN_THE_WAY])
    more = ", …" if tally.in_the_way > _SHOWN_IN_THE_WAY else ""
    exist = "exists" if tally.in_the_way == 1 else "exist"
    return UsageError(
        f"Nothing was restored: {first}{more} {exist} already, and not as in this generation "
        f"({tally.in_the_way} of {tally.entries}).",
        f"Restore elsewhere with --to DIRECTORY, or {OTHERWISE}",
    )


def _left_out(placement: Placement) -> target.Findings:
    findings = target.Findings()
    for path in placement.tally.left_out:
        findings.add("device_left_out", b"/" + path)
    return findings


def _shortened(complaints: Sequence[str]) -> list[str]:
    """rsync's complaints, without the line that only sums them up."""
    told = [
        line
        for line in complaints
        if line and not line.startswith("rsync error: some files/attrs were not transferred")
    ]
    if len(told) <= _SHOWN_COMPLAINTS:
        return told
    return [*told[:_SHOWN_COMPLAINTS], f"… and {len(told) - _SHOWN_COMPLAINTS} more complaints of rsync"]
