"""A backup: scan, plan, send, seal."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sedai.client import batches, catalog, planning, settle, tamper
from sedai.client.config import ClientConfig
from sedai.client.connection import Connection
from sedai.client.describe import not_in_backup
from sedai.client.plan import Planned, Step, Tally
from sedai.client.pushing import BarredError, Pushing, may_have_holes
from sedai.client.rehash import sent_rotten
from sedai.client.scan import Problem
from sedai.client.signing import sign, sign_pending
from sedai.client.stage import Staged
from sedai.client.state import State
from sedai.core import manifest, wire
from sedai.core.counted import counted
from sedai.core.errors import IntegrityError, SedaiError
from sedai.core.generation import Generation
from sedai.core.merge import merge
from sedai.core.process import environment
from sedai.core.progress import Reporter, size
from sedai.core.wire import Change

_PLAIN = re.compile(wire.PLAIN_PATH.encode("ascii") + rb"\Z").match
# The server keeps as many lines of what a backup lacks.
_MOST_TOLD = 100


@dataclass
class Outcome:
    """What a backup did. ``record``: the sealed generation's record, empty for a dry run.

    ``left_out``: what is not in the backup because the person said so, in words; ``not_in_backup``: with the rest of what
    is not in it.
    """

    tally: Tally
    problems: list[Problem] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    pruned: list[str] = field(default_factory=list)
    sent_files: int = 0
    vanished: list[str] = field(default_factory=list)
    changed_while_read: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    not_in_backup: list[str] = field(default_factory=list)


class Run:
    """One backup over an open connection; the caller holds the client's lock."""

    def __init__(
        self, config: ClientConfig, state: State, connection: Connection, reporter: Reporter, staged: Staged
    ) -> None:
        self._config = config
        self._state = state
        self._connection = connection
        self._reporter = reporter
        self._staged = staged
        self._outcome = Outcome(Tally(), list(staged.problems))
        self._started = datetime.now(UTC)
        self._found = planning.Found(planning.NOTHING)
        self._tops: list[bytes] = []
        self._complaints: list[str] = []
        self._asks_for_signature = False
        self._lanes = 1
        # An earlier server takes nothing without a look for holes.
        self._holes = batches.always
        # Of what the server's base has not whole: paths of which it has nothing.
        self._lost: set[bytes] = set()

    def carry_out(self, *, dry_run: bool = False, alerts_stuck: float = 0.0) -> Outcome:
        """Run all phases; the server is told for how many seconds alerts have not been getting through.

        Raises:
            SedaiError: there is no new generation; what was sent stays for the next run.
        """
        outcome = self._outcome
        said = {"time": time.time(), "dry_run": dry_run, "alerts_stuck_seconds": alerts_stuck}
        beginning = self._connection.start("begin", said)
        # While the connection is made: with what this machine knows of the base, which is nearly always right.
        try:
            early = self._plan_early(beginning.look)
        except SedaiError:
            with contextlib.suppress(SedaiError):
                beginning.result()  # the server knows then that there was a run, of which nothing came
            raise
        begun = beginning.result()
        if not isinstance(begun.get("base"), str):
            raise SedaiError("The server's answer to `begin` is not one that this version knows.")
        if begun.get("takes_top"):  # an earlier server does not
            self._tops = _tops(source.tree_path for source in self._config.scanned)
        self._asks_for_signature = bool(begun.get("asks_for_signature"))
        self._lanes = self._count_lanes(begun.get("receivers"))
        if begun.get("takes_dense"):
            self._holes = may_have_holes
        base = str(begun["base"])
        base_sha256 = str(begun["base_manifest_sha256"])
        if not dry_run:
            self._sign()  # of a run that was killed; what fails now is tried again after the seal, and told then
        wanted = frozenset(base64.b64decode(path) for path in begun["wanted"])
        if early and early.base.sha256 == base_sha256 and not wanted:
            found = early
        else:
            base_manifest = self._state.base_for(self._connection, base, base_sha256) if base else None
            # An earlier server does not say how many entries the base has.
            found = self._plan(planning.Base(base_manifest, base_sha256, int(begun.get("base_entries", 0)), wanted))
        self._found = found
        outcome.tally = found.tally
        outcome.problems += found.problems
        outcome.left_out += found.left_out
        # An earlier server does not say what is lost.
        self._lost = {wire.unpack(path) for path in begun.get("lost", ())} & set(map(manifest.line_path, found.spoiled))
        tally = outcome.tally
        self._reporter.say(
            f"scan: {counted(tally.entries, 'entry')}: {tally.new} new, {tally.modified} changed, {tally.removed} removed, "
            f"{tally.unchanged} unchanged; {size(tally.send_bytes)} to look through"
        )
        self._clock(float(begun["clock_skew_seconds"]))
        self._gone(base)
        if dry_run:
            return outcome
        if tally.send_bytes > int(begun["free_bytes"]):
            outcome.problems.append(Problem("space", b"", f"up to {size(tally.send_bytes)} may be sent, the server has "
                                                          f"{size(int(begun['free_bytes']))} free"))  # fmt: skip
        with self._timed("send"):
            settled = self._send()
        self._reporter.say(f"send: {counted(outcome.sent_files, 'file')}")
        with self._timed("seal"):
            self._seal(base, settled)
        outcome.vanished = [wire.text(path) for path in sorted(settled.gone, key=manifest.order)]
        outcome.changed_while_read = len(settled.unstable)
        self._reporter.say(f"seal: {outcome.record['generation']}")
        return outcome

    def _count_lanes(self, receivers: object) -> int:
        """How many runs of rsync may go at once: an earlier server has one receiver, and a limit is for all together."""
        if type(receivers) is not int or self._config.backup.bandwidth_limit_kib:
            return 1
        return max(1, min(receivers, len(os.sched_getaffinity(0)), wire.MOST_RECEIVERS))

    def _plan_early(self, glance: Callable[[], None]) -> planning.Found | None:
        known = planning.at_hand(self._state)
        return self._plan(known, glance) if known else None

    def _plan(self, base: planning.Base, glance: Callable[[], None] = lambda: None) -> planning.Found:
        with self._timed("scan"):
            return planning.make(self._config, self._state, self._staged, base, self._reporter, glance)

    def _planned(self) -> Iterator[Planned]:
        return planning.planned(self._state)

    def _timed(self, phase: str) -> _Timed:
        return _Timed(self._outcome.seconds, phase)

    def _clock(self, skew: float) -> None:
        if abs(skew) > wire.CLOCK_TOLERANCE_SECONDS:
            detail = (
                f"the clocks of this machine and the server differ by {skew:.0f} s; nothing is pruned until they agree"
            )
            self._outcome.problems.append(Problem("clock", b"", detail))

    def _gone(self, base: str) -> None:
        """Where the new generation is not built on what was sealed last: is that there at all? Else nobody would miss it."""
        try:
            sealed = self._state.sealed()
        except IntegrityError:
            return  # told when the next one is to be remembered
        if not sealed or base == [*sealed][-1]:
            return
        listed = catalog.generations(self._connection)
        if last := tamper.gone(sealed, (known["generation"] for known in listed)):
            detail = f"{last}, which was sealed last, is not on the server any more, nor is a later one; there are {len(listed)}"
            self._outcome.problems.append(Problem("gone", b"", detail))

    def _send(self) -> settle.Settlement:
        """Send the plan; the digests that rsync told are then beside it, line by line."""
        try:
            found = self._send_plan(may_be_barred=True)
        except BarredError:  # by what a run that broke off had sent, of which this one needs nothing
            self._connection.ask("begin", {"time": time.time(), "empty": True})
            found = self._send_plan(may_be_barred=False)
        self._sources_still_there()
        if found.again:
            again = sorted(found.again.values(), key=lambda item: manifest.order(item.path))
            linked = sum(item.linked for item in again)
            paths = {item.path for item in again}
            plan_again = batches.Plan(lambda: iter(again), len(again), linked, paths, holes=self._holes)
            pushing = self._pushing()
            # What was read before is not what is there now.
            found.digests_again = {
                item.path: digest for item, digest in batches.send(plan_again, pushing, end=pushing.end)
            }
            self._pushed(pushing)
            settle.find_unstable(found, settle.look)
        return found

    def _send_plan(self, *, may_be_barred: bool) -> settle.Settlement:
        tally, found = self._outcome.tally, settle.Settlement()
        whole = batches.Plan(self._planned, tally.planned, tally.linked, self._found.partial, self._tops, self._holes)
        with (
            self._state.digests.open("wb") as digests,
            self._reporter.transfer("send", tally.send_files, tally.send_bytes) as advance,
        ):
            pushing = self._pushing(advance, may_be_barred=may_be_barred)
            with contextlib.closing(batches.send(whole, pushing, self._lanes, pushing.end)) as sent:
                for item, digest in sent:
                    digests.write(digest + b"\n")
                    if item.step is not Step.REMOVED:
                        settle.find_changed(item, found)
        self._pushed(pushing)
        return found

    def _pushing(self, advance: Callable[[int], None] = lambda count: None, *, may_be_barred: bool = False) -> Pushing:
        limit = self._config.backup.bandwidth_limit_kib
        return Pushing(self._connection, limit, advance, may_be_barred=may_be_barred)

    def _pushed(self, pushing: Pushing) -> None:
        self._complaints += pushing.complaints
        self._outcome.sent_files += pushing.sent_files

    def _sent(self) -> Iterator[tuple[Planned, bytes]]:
        with self._state.digests.open("rb") as digests:
            for item, digest in zip(self._planned(), digests, strict=True):
                yield item, digest[:-1]

    def _rotten(self, found: settle.Settlement) -> dict[bytes, Problem]:
        """Of what is sent because the server's copy is damaged: files whose right bytes are not here either."""
        paths = set(map(manifest.line_path, self._found.spoiled))
        if not paths:
            return {}
        digests = {item.path: digest for item, digest in self._sent() if item.path in paths} | found.digests_again
        return sent_rotten(self._found.spoiled, {path: digest for path, digest in digests.items() if digest})

    def _sources_still_there(self) -> None:
        """A source that is unmounted while it is read looks like one whose files were all deleted.

        Raises:
            SedaiError: a source is gone, or another file system has taken its place.
        """
        for path, device in self._found.devices.items():
            try:
                present = os.lstat(b"/" + path).st_dev == device
            except OSError:
                present = False
            if not present:
                raise SedaiError(
                    f"The source /{wire.text(path)} went away while it was backed up.",
                    "Mount it again, then run the backup again.",
                )

    def _seal(self, base: str, found: settle.Settlement) -> None:
        request = self._changes(base, found)
        asked = {name: request[name] for name in ("entries", "started", "sources")}
        asked |= {"previous": base, "previous_manifest_sha256": self._found.base.sha256}
        new_manifest = self._state.base.with_name("sealed.manifest")
        totals, signed = self._have_sealed(request, asked, new_manifest)
        outcome, result = self._outcome, self._connection.result
        outcome.pruned = [str(name) for name in result["pruned"]]
        not_pruned = str(result["not_pruned"])
        if not_pruned and not any(problem.code == "clock" for problem in outcome.problems):
            outcome.problems.append(Problem("prune", b"", not_pruned))
        text = result.get("record_text")  # an earlier server does not tell it, and takes no signature
        outcome.record = dict(result["record"]) if text is None else wire.read_object(str(text).encode())
        generation = _agreed(outcome.record, asked | _own(totals))
        if signed not in (None, text):
            raise IntegrityError(f"The server's record of {generation} is not the one that this client signed.")
        if text is not None and not result.get("signed"):
            self._state.remember_unsigned(generation, str(text))
        self._state.remember_sealed(generation, totals.sha256)
        new_manifest.rename(self._state.base)

        if text is None and self._state.signed():
            told = f"{generation} could not be signed: the server takes no signatures (an earlier version of sedai?)."
            outcome.problems.append(Problem("unsigned", b"", told))
        elif signed is not None and result.get("signed"):
            self._state.remember_signed(generation, signed.encode())
        outcome.problems += self._sign()

    def _changes(self, base: str, found: settle.Settlement) -> dict[str, Any]:
        """Write the list of changes; the request that goes with it."""
        rotten = self._rotten(found)
        dropped: list[bytes] = []
        with self._state.changes.open("wb") as stream:
            settled = settle.changes(self._sent(), found, rotten)
            for change in settle.drop_lost(settled, self._lost, dropped):
                stream.write(wire.encode_change(change))
            stream.write(wire.CHANGES_END)
        outcome = self._outcome
        outcome.problems += [rotten.pop(problem.path, problem) for problem in settle.problems(found, self._complaints)]
        outcome.problems += [Problem("lost", path, "nothing that can be read is left here") for path in dropped]
        outcome.not_in_backup = not_in_backup(outcome.problems, outcome.left_out)
        return {
            "base": base,
            "base_manifest_sha256": self._found.base.sha256,
            "entries": outcome.tally.entries - found.entries_lost - len(dropped),
            "started": self._started.isoformat(timespec="seconds"),
            "sources": [str(source.path) for source in self._config.scanned],
            "not_in_backup": outcome.not_in_backup[:_MOST_TOLD],
            "signs": self._asks_for_signature,
        }

    def _have_sealed(
        self, request: dict[str, Any], asked: Mapping[str, Any], new_manifest: Path
    ) -> tuple[manifest.Totals, str | None]:
        """Ask for the seal, and compute the manifest here too; what it holds, and the record that was signed meanwhile."""
        base_manifest = self._found.base.manifest
        signed: list[str] = []
        with contextlib.ExitStack() as held:
            feed = held.enter_context(self._state.changes.open("rb"))
            advance = held.enter_context(self._reporter.steps("seal", request["entries"]))
            writer = held.enter_context(manifest.Writer(new_manifest, compresslevel=0))

            def hear(answer: dict[str, Any]) -> dict[str, Any] | None:
                if "sign" not in answer:
                    advance(answer.get("progress", 0))
                    return None
                if signed or not self._asks_for_signature:
                    raise IntegrityError("The server asks for a signature that is not due.")
                signed.append(str(answer["sign"]))
                return {"signature": self._signature(signed[0], dict(asked) | _own(writer.totals))}

            answers = self._connection.stream("seal", request, feed, hear, talks=self._asks_for_signature)
            held.enter_context(contextlib.closing(answers))
            base_blocks = manifest.blocks(base_manifest) if base_manifest else iter(())
            for block in merge(base_blocks, _sealed_changes(self._state.changes, answers)):
                writer.add(block)
            for unexpected in answers:
                raise IntegrityError(f"The seal's answer has a line too many: {unexpected[:80]!r}")
            return writer.totals, signed[0] if signed else None

    def _signature(self, text: str, expected: Mapping[str, Any]) -> str:
        """For the record ``text``; empty where it can't be made now: it is tried again, and told then.

        Raises:
            IntegrityError: the record is not what was asked for.
        """
        self._state.remember_unsigned(_agreed(wire.read_object(text.encode()), expected), text)
        try:
            return sign(self._config.server.identity_file, text.encode())
        except SedaiError:
            return ""

    def _sign(self) -> list[Problem]:
        return list(sign_pending(self._connection, self._state, self._config.server.identity_file))


def _tops(sources: Iterable[bytes]) -> list[bytes]:
    """Those of ``sources`` in which a run of rsync may begin, without those inside of others."""
    tops: list[bytes] = []
    for path in sorted(sources, key=manifest.order):
        if _PLAIN(path) and not (tops and manifest.at_or_below(path, tops[-1])):
            tops.append(path)
    return tops


def _own(totals: manifest.Totals) -> dict[str, Any]:
    """What this client counted itself, as a record names it."""
    return {"files": totals.files, "bytes": totals.bytes, "manifest_sha256": totals.sha256}


def _agreed(record: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The name of the generation that was sealed, whose ``record`` this client may sign.

    Raises:
        IntegrityError: it does not say what this client asked for and counted itself.
    """
    name = str(record.get("generation"))
    if Generation.parse(name) is None:
        raise IntegrityError(f"The server sealed a generation that it calls {name[:80]!r}.")
    wrong = [
        f"{key} {record.get(key)!r}, here {value!r}" for key, value in expected.items() if record.get(key) != value
    ]
    if wrong:
        raise IntegrityError(
            f"The server's record of {name} is not what this client had sealed: {'; '.join(wrong)}.",
            "Run check_backup_integrity.py --level full.",
        )
    return name


def _sealed_changes(path: Path, answers: Iterator[bytes]) -> Iterator[Change]:
    """The changes with what the server found in the files: CRC32, and size, mtime, mode and owner of what was not stable."""
    with path.open("rb") as stream:
        for change in wire.read_changes(stream):
            fields = change.line.split(b"\t") if change.line is not None else []
            if not change.unstable and fields[manifest.KIND : manifest.KIND + 1] != [b"f"]:
                yield change
                continue
            crc32, *stored = _answer(next(answers, b""), change)
            if not change.unstable and stored != fields[manifest.SIZE : manifest.MTIME + 1]:
                raise IntegrityError(f"The server stored {wire.text(change.path)} with another size or mtime.")
            fields[manifest.CRC32] = crc32
            fields[manifest.SIZE : manifest.SIZE + len(stored)] = stored
            yield Change(change.path, b"\t".join(fields))


def _answer(line: bytes, change: Change) -> list[bytes]:
    """CRC32, size and mtime; of a file that was not stable also mode, uid and gid (earlier servers don't tell)."""
    fields = line[1:].split()
    if line[:1] != b"+" or len(fields) not in (3, 6):
        raise IntegrityError(f"The seal did not answer for {wire.text(change.path)}.")
    return fields


@dataclass
class _Timed:
    """Notes how long a phase took, in seconds."""

    seconds: dict[str, float]
    phase: str

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *ignored: object) -> None:
        self.seconds[self.phase] = round(time.monotonic() - self._begun, 3)


def run_hook(command: str) -> None:
    """Run one of the person's shell commands around a backup.

    Raises:
        SedaiError: it failed; with its last words.
    """
    # Into a file: a command that leaves something running in the background would keep a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        status = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
            check=False,
        ).returncode
        output.seek(max(0, output.tell() - 2000))
        said = output.read().decode(errors="replace").strip()
    if status != 0:
        raise SedaiError(
            f"The command `{command}` failed (status {status}): {said}", "Mend the command, then run the backup again."
        )
