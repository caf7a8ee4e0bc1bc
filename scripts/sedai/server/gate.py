"""The gate: the only thing that a client's key can start. It knows a few verbs and hands nothing on unseen.

It is started several times in each run, so what only one verb needs is imported where that verb is carried out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from logging import Logger
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sedai import __version__
from sedai.core import lock, manifest, wire
from sedai.core.errors import (
    IntegrityError,
    LockedError,
    ProtocolError,
    SedaiError,
    UsageError,
)
from sedai.core.generation import Generation, Record
from sedai.server import ahead, days, quota, receiver
from sedai.server import prune as pruning
from sedai.server.asked import Asked
from sedai.server.config import ServerConfig
from sedai.server.store import ClientStore

if TYPE_CHECKING:
    from sedai.server.entries import Problem, Tally
    from sedai.server.transfer import Transfer

_Lock = Callable[..., contextlib.AbstractContextManager[int]]
# What a run that was killed has still on its way arrives first, on a slow line too.
_LOCK_WAIT_SECONDS = 30


@dataclass
class Gate:
    """One client's conversation: ``requests`` is what it says, ``answers`` what it hears."""

    config: ServerConfig
    client: str
    requests: IO[bytes]
    answers: IO[bytes]
    log: Logger

    @property
    def store(self) -> ClientStore:
        """The client's part of the store."""
        return ClientStore(self.config.store / self.client)

    def serve(self, command: str) -> int:
        """Carry out ``command`` (SSH_ORIGINAL_COMMAND) and return the exit status."""
        self.config.retention_for(self.client)
        if command.startswith("rsync "):
            return self._rsync(command)
        verbs: dict[str, Callable[[Asked], dict[str, Any]]] = {
            "begin": self._begin,
            "seal": self._seal,
            "sign": self._sign,
            "list": self._list,
            "manifest": self._manifest,
            "read": self._read,
            "find": self._find,
            "verify": self._verify,
            "alert": self._alert,
            "status": self._status,
        }
        handler = verbs.get(command)
        if handler is None:
            raise UsageError(f"The gate knows no {command[:40]!r}.", f"It knows: {', '.join(verbs)}.")
        try:
            # Whatever else has changed between two versions: what one has to tell reaches a person.
            result = handler(Asked(command, self._request(any_version=command == "alert")))
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"The request for `{command}` has a value that does not fit: {error}") from error
        wire.write_object(self.answers, {"result": result})
        return 0

    def look_ahead(self, command: str) -> None:
        """When ``command`` was answered: do in the background what the next seal needs, at once where a run has begun."""
        if command in ("begin", "seal"):
            has_page = self.config.watch.state_directory is not None
            at_last = self._show if command == "seal" and has_page else None
            ahead.start(self.store, self.log, self._quota.used_up, urgent=command == "begin", at_last=at_last)

    def _show(self) -> None:
        """Whoever looks at the server's page sees what was sealed just now."""
        from sedai.server import report, status

        status.refresh(report.facts_now(self.config), self.config, self.log)

    def _request(self, *, any_version: bool) -> dict[str, Any]:
        line = self.requests.readline(wire.LONGEST_LINE * 32)
        request = wire.read_object(line) if line.strip() else {"protocol": wire.PROTOCOL}
        if not any_version and request.get("protocol") != wire.PROTOCOL:
            raise ProtocolError(
                f"The client speaks protocol {request.get('protocol')!r}, this server {wire.PROTOCOL}.",
                "Run `ansible-playbook site.yml` so that both have the same version.",
            )
        return request

    @property
    def _another(self) -> str:
        return f"Another backup of {self.client} on the server"

    @contextlib.contextmanager
    def _locked(self, how: _Lock = lock.exclusive) -> Iterator[None]:
        with how(self.store.lock, self._another, wait_seconds=_LOCK_WAIT_SECONDS):
            self.store.prepare()
            yield

    @contextlib.contextmanager
    def _held(self, generation: Generation) -> Iterator[Generation]:
        """Keep ``generation`` from being pruned.

        Raises:
            UsageError: it was pruned since it was listed.
            IntegrityError: its record is not there.
        """
        record = self.store.record_path(generation)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock.shared(record))
            except FileNotFoundError as error:
                if self.store.directory(generation).exists():
                    raise IntegrityError(f"The record of {generation} is missing.") from error
            if not record.exists():
                raise UsageError(f"The generation {generation} was pruned meanwhile.", "Choose another one.")
            yield generation

    def _begin(self, asked: Asked) -> dict[str, Any]:
        skew = asked.number("time") - time.time()
        stuck = asked.number("alerts_stuck_seconds", 0.0)  # an earlier client does not say it
        empty, dry_run = asked.flag("empty"), asked.flag("dry_run")
        with self._locked():
            if not dry_run:
                days.begun(self.store, days.day(datetime.now(UTC)))
            if empty:  # what an earlier run sent is in this one's way
                self.store.empty_delta()
            self._refuse_without_room()
            (self.store.incoming / "clock_skew").write_text(f"{skew:.3f}\n", encoding="ascii")
            self.store.alerts_stuck.write_text(f"{stuck:.0f}\n", encoding="ascii")
            if not self.store.checked.exists():
                self.store.checked.touch()  # from now on a check is awaited
            newest = self.store.base()
            record = self.store.record(newest) if newest else None
            free = self._quota.free_bytes()
            if newest and (marks := self.store.broken_off()):
                self._look_for_damage(newest)
                for mark in marks:
                    mark.unlink()
            wanted = sorted(self.store.wanted())
            lost = list(self._lost(newest, wanted)) if newest and wanted else []
        return {
            "base": str(newest) if newest else "",
            "base_manifest_sha256": record.manifest_sha256 if record else "",
            "base_entries": record.entries if record else 0,
            "wanted": [wire.pack(path) for path in wanted],
            "lost": [wire.pack(path) for path in lost],
            "clock_skew_seconds": round(skew, 3),
            "free_bytes": free,
            "takes_top": True,
            "takes_dense": True,
            "receivers": min(len(os.sched_getaffinity(0)), wire.MOST_RECEIVERS),
            "asks_for_signature": True,
            "sedai_version": __version__,
        }

    def _lost(self, base: Generation, wanted: Iterable[bytes]) -> Iterator[bytes]:
        """What of ``wanted`` the base has nothing of: kept as it is, it could not even be linked."""
        from sedai.core.beneath import Beneath

        with Beneath(self.store.tree(base)) as tree:
            for path in wanted:
                try:
                    tree.lstat(path)
                except (FileNotFoundError, NotADirectoryError):
                    yield path

    @property
    def _quota(self) -> quota.Quota:
        rules = self.config.clients[self.client]
        return quota.Quota(self.store, rules.quota_gib, self.config.reserve_percent)

    def _refuse_without_room(self) -> None:
        self._quota.drop_or_refuse()
        self._refuse_too_many()

    def _refuse_too_many(self) -> None:
        words = pruning.too_many(self.store, self.config.retention_for(self.client), datetime.now(UTC))
        if words:
            raise SedaiError(
                words, f"Look at the generations, then run `sedai_server.py release --client {self.client}`."
            )

    def _rsync(self, command: str) -> int:
        from sedai.server import transfer

        asked = transfer.parse(command)
        if asked.generation:
            with self._held(self.store.find(asked.generation)) as generation:
                tree = self.store.tree(generation)
                return self._transfer(transfer.send_command(asked, self._seen(tree, transfer.TREE)),
                                      {tree: transfer.TREE}, {})  # fmt: skip
        try:
            return self._receive(asked)
        except receiver.LimitError:
            # When whoever receives beside this one has ended too.
            with contextlib.suppress(LockedError), self._locked():
                self.store.empty_delta()
            raise

    def _receive(self, asked: Transfer) -> int:
        """Receive into the delta; another receiver of the same run may do it at the same time."""
        from sedai.server import below, transfer

        others = lock.one_of(self.store.receiver_locks, self._another, wait_seconds=_LOCK_WAIT_SECONDS)
        with self._locked(lock.among_equals), others:
            basis = self._basis(self.store.base())
            base = basis and below.directory(basis, asked.top)
            delta = below.made(self.store.delta, asked.top)
            seen = self._seen(base, transfer.BASE) if base else None
            argv = transfer.receive_command(asked, seen, self._seen(delta, transfer.DELTA))
            self._quota.refuse_if_used_up()
            self._refuse_too_many()
            mark = self.store.transfer_mark()
            mark.touch(mode=0o600)
            readable = {base: transfer.BASE} if base else {}
            status = self._transfer(argv, readable, {delta: transfer.DELTA}, self._quota.limit())
            if status in transfer.ENDED:
                mark.unlink()
            return status

    def _basis(self, base: Generation | None) -> Path | None:
        """What rsync takes for similar to what is sent: the base, unless it would stumble over what is damaged there."""
        from sedai.server import stored

        wanted = self.store.wanted()
        if base is None or next(stored.unreadable(self.store.tree(base), wanted), None) is not None:
            return None
        return self.store.tree(base)

    def _look_for_damage(self, base: Generation) -> None:
        """After a transfer that broke off: did rsync stumble over the attributes of something in the base?"""
        from sedai.server import stored

        paths = map(manifest.line_path, manifest.read(self.store.manifest(base)))
        with contextlib.suppress(IntegrityError):  # the seal says it of the manifest
            self.store.want_again(stored.unreadable(self.store.tree(base), paths))

    def _seen(self, path: Path, inside: str) -> Path:
        return path if self.config.sandbox == "off" else Path(inside)

    def _transfer(
        self, argv: list[str], readable: dict[Path, str], writable: dict[Path, str], limit: receiver.Limit | None = None
    ) -> int:
        from sedai.server import transfer

        if self.config.sandbox != "off":
            argv = transfer.sandboxed(argv, readable, writable)
        status = receiver.run(argv, limit)
        if status != 0:
            self.log.warning("%s: rsync ended with status %d", self.client, status)
        return status

    def _seal(self, asked: Asked) -> dict[str, Any]:
        from sedai.server.seal import Request, seal

        wanted, signs = Request.from_table(asked.fields), asked.flag("signs")
        with self._locked():
            self._refuse_without_room()
            incoming = self.store.incoming / "changes"
            try:
                with incoming.open("wb") as stream:
                    self._quota.copy(wire.until_end(self.requests), stream)
            except receiver.LimitError:
                incoming.unlink()
                raise
            with incoming.open("rb") as stream:
                try:
                    record = seal(
                        self.store,
                        self.client,
                        wanted,
                        wire.read_changes(stream),
                        self._answer,
                        self._progress,
                        self.config.freeze_percent,
                    )
                except (IntegrityError, LookupError, ValueError):
                    self.store.prove_base()
                    # What arrived contradicts what the client has now: the next run starts with an empty delta.
                    self.store.empty_delta()
                    raise
            again = self.store.wanted()
            if again:
                with incoming.open("rb") as stream:
                    self.store.wanted_no_more({c.path for c in wire.read_changes(stream) if c.path in again})
            incoming.unlink()
            days.sealed(self.store, days.day(datetime.now(UTC)))
            self.store.prepare()
            self.log.info("%s: sealed %s, %d entries, %d changed, %d removed", self.client, record.generation,
                          record.entries, record.changed, record.removed)  # fmt: skip
            signed = signs and self._have_signed(record)
            pruned = self._prune()
        # The text as it is stored: what the client signs must be that, to the last byte.
        return {"record": asdict(record), "record_text": record.text(), "signed": signed, **pruned}

    def _have_signed(self, record: Record) -> bool:
        """Ask for the signature of what was sealed just now, for which the client would else start another gate."""
        try:
            wire.write_object(self.answers, {"sign": record.text()})
            line = self.requests.readline(wire.LONGEST_LINE)
            text = Asked("signature", wire.read_object(line)).text("signature") if line.strip() else ""
            return bool(text) and self._keep_signature(self.store.find(record.generation), text)
        # The generation is sealed and stays, and pruning makes the room that may be missing; the client asks again, and is told.
        except (SedaiError, OSError, ValueError) as error:
            self.log.warning("%s: %s was not signed at once: %s", self.client, record.generation, error)
            return False

    def _sign(self, asked: Asked) -> dict[str, Any]:
        name, text = asked.text("generation"), asked.text("signature")
        with self._locked():
            generation = self.store.find(name)
            if str(generation) != name:
                raise UsageError("A signature is for one generation by its name.")
            self._keep_signature(generation, text)
        return {"generation": name}

    def _keep_signature(self, generation: Generation, text: str) -> bool:
        from sedai.server import signature

        signer = signature.keep(self.store, generation, text.encode())
        self.log.info("%s: %s is signed by %s", self.client, generation, signer)
        return True

    def _answer(self, line: bytes) -> None:
        self.answers.write(line)

    def _progress(self, checked: int) -> None:
        wire.write_object(self.answers, {"progress": checked})

    def _prune(self) -> dict[str, Any]:
        skew = _read_skew(self.store.incoming / "clock_skew")
        if abs(skew) > wire.CLOCK_TOLERANCE_SECONDS:
            self.log.warning("%s: nothing pruned, the clocks differ by %.0f s", self.client, skew)
            return {"pruned": [], "not_pruned": f"the clocks of client and server differ by {skew:.0f} s"}
        try:
            done = pruning.prune(self.store, self.config.retention_for(self.client))
        except OSError as error:
            # The seal is done and stays done.
            self.log.exception("%s: pruning failed", self.client)
            return {"pruned": [], "not_pruned": f"pruning failed: {error}"}
        if done.frozen:
            hint = f"look at the generations, then run `sedai_server.py release --client {self.client}` on the server"
            return {"pruned": [], "not_pruned": f"{done.frozen}; {hint}"}
        for name in done.dropped:
            self.log.info("%s: pruned %s", self.client, name)
        return {"pruned": list(done.dropped), "not_pruned": ""}

    def _list(self, asked: Asked) -> dict[str, Any]:
        found, signatures = [], asked.flag("signatures")
        for generation in self.store.generations():
            try:
                known = asdict(self.store.record(generation))
            except IntegrityError as error:
                known = {"generation": str(generation), "error": error.message}
            if signatures:
                known["record_bytes"] = _packed(self.store.record_path(generation))
                known["signature"] = _packed(self.store.signature(generation))
            found.append(known)
        return {"generations": found}

    def _manifest(self, asked: Asked) -> dict[str, Any]:
        generation = self.store.find(asked.text("generation", "latest"))
        path = self.store.manifest(generation)
        if generation == self.store.base():
            self.store.prove_base()  # a backup that is refused it must not be given it again
        with self._held(generation), path.open("rb") as stream:
            wire.write_object(self.answers, {"bytes": path.stat().st_size, "generation": str(generation)})
            while chunk := stream.read(30_000):
                self.answers.write(b"+" + wire.pack(chunk).encode() + b"\n")
        return {"generation": str(generation)}

    def _read(self, asked: Asked) -> dict[str, Any]:
        from sedai.core.beneath import Beneath, allow_deep_paths
        from sedai.server import reading

        allow_deep_paths()
        generation = self.store.find(asked.text("generation"))
        with self._held(generation), Beneath(self.store.tree(generation)) as tree:
            for block in reading.answers(tree, self.requests):
                self.answers.write(block)
        return {"generation": str(generation)}

    def _find(self, asked: Asked) -> dict[str, Any]:
        from sedai.server import find

        paths = asked.paths("paths")
        fits = find.by_pattern(asked.packed("pattern")) if paths is None else find.by_paths(paths)
        searched, matched = [], 0
        for generation in self.store.generations():
            try:
                with self._held(generation):
                    wire.write_object(self.answers, {"generation": str(generation)})
                    for line in find.matching(manifest.read(self.store.manifest(generation)), fits):
                        self.answers.write(b"+" + line)
                        matched += 1
            except IntegrityError as error:
                wire.write_object(self.answers, {"damaged": str(generation), "reason": error.message})
            except UsageError:
                continue  # pruned meanwhile: the same as never there
            searched.append(str(generation))
        return {"matched": matched, "generations": searched}

    def _verify(self, asked: Asked) -> dict[str, Any]:
        from sedai.server import verify

        level = asked.text("level", "quick")
        if level not in verify.LEVELS:
            raise UsageError(f"There is no level {level!r}.", f"Levels: {', '.join(verify.LEVELS)}.")
        name = asked.text("generation", "latest")
        paths = asked.paths("paths")
        everything = self.store.generations()
        chosen = everything if name == "all" else [self.store.find(name)]
        spoken = time.monotonic()

        def progress(tally: Tally) -> None:
            nonlocal spoken
            if time.monotonic() - spoken > 1.0:
                spoken = time.monotonic()
                wire.write_object(self.answers, {"progress": tally.entries, "bytes": tally.read_bytes})

        verifier = verify.Verifier(self.store, level, progress)
        if paths is not None:
            found = verifier.paths(self.store.find(name), paths)
        else:
            found = itertools.chain(verify.gone(self.store), verify.rising(everything), verifier.generations(chosen))
        problems = sum(map(self._tell, found))
        if paths is None:
            self.store.checked.touch()
        self.log.info("%s: %s check of %s: %d problems", self.client, level, name, problems)
        return {"problems": problems, "checked": [str(generation) for generation in chosen],
                "generations": [str(generation) for generation in everything], **asdict(verifier.tally)}  # fmt: skip

    def _tell(self, problem: Problem) -> int:
        wire.write_object(self.answers, {"problem": problem._asdict() | {"path": wire.pack(problem.path)}})
        self.log.warning("%s: %s %s in %s: expected %s, found %s", self.client, problem.code,
                         wire.text(problem.path), problem.generation, problem.expected, problem.found)  # fmt: skip
        return 1

    def _alert(self, asked: Asked) -> dict[str, Any]:
        from sedai.server import alerts

        fields = {name: str(asked.fields.get(name, "")) for name in ("subject", "body", "incident", "resolved")}
        alert = alerts.Alert(**fields)
        return {"alert": alerts.send(self.config.alert_command, alert, f"client:{self.client}", self.log)}

    def _status(self, asked: Asked) -> dict[str, Any]:
        from sedai.server import freeze

        newest = self.store.newest()
        usage = shutil.disk_usage(self.config.store)
        return {
            "frozen": str(freeze.read(self.store) or ""),
            "client": self.client,
            "generations": len(self.store.generations()),
            "newest": str(newest) if newest else "",
            "free_bytes": usage.free,
            "total_bytes": usage.total,
            "time": time.time(),
            "watch_ran": self._watch_ran(),
            "sedai_version": __version__,
        }

    def _watch_ran(self) -> float | None:
        from sedai.server.notebook import read_notes

        state = self.config.watch.state_directory
        return None if state is None else read_notes(state).ran


def _packed(path: Path) -> str | None:
    """What is stored at ``path``, byte for byte; None where nothing is, or nothing that can be read."""
    try:
        return wire.pack(path.read_bytes())
    except OSError:
        return None


def _read_skew(path: Path) -> float:
    try:
        return float(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0.0


def original_command() -> str:
    """What the client asked for, as sshd hands it to a forced command."""
    return os.environ.get("SSH_ORIGINAL_COMMAND", "")


def refuse(command: str, error: SedaiError, answers: IO[bytes]) -> None:
    """Tell the client why not, on the stream that it reads as text."""
    if command.startswith("rsync "):
        sys.stderr.write(f"sedai: {error}\n")
        return
    kind = {LockedError: "locked", UsageError: "usage", ProtocolError: "protocol"}.get(type(error), "server")
    wire.write_object(answers, {"error": error.message, "hint": error.hint, "kind": kind})
