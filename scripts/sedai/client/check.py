"""The integrity check: the server reads, the client compares with what it knows and says what differs."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sedai.client import catalog, tamper
from sedai.client.config import ClientConfig
from sedai.client.connection import Connection
from sedai.client.finding import Finding
from sedai.client.program import Context, Result
from sedai.client.signing import verifier
from sedai.core import wire
from sedai.core.counted import counted
from sedai.core.errors import UsageError
from sedai.core.generation import Generation
from sedai.core.progress import Reporter, size

_WATCH_HOURS = 24


@dataclass
class Answers:
    """What the server said while it verified."""

    findings: list[Finding] = field(default_factory=list)

    def take(self, answer: dict[str, Any]) -> None:
        """Collect a problem; progress is passed over here."""
        problem = answer.get("problem")
        if isinstance(problem, dict):
            path = wire.text(base64.b64decode(problem["path"]))
            self.findings.append(
                Finding(problem["code"], problem["generation"], path, problem["expected"], problem["found"])
            )


def check(context: Context, level: str, generation: str, *, quiet: bool = False) -> Result:
    """Verify ``generation`` (a name, ``latest`` or ``all``) at ``level`` (``quick`` or ``full``).

    Raises:
        UsageError: there is no such generation, or none at all.
        SedaiError: the check could not be carried out.
    """
    reporter = Reporter(quiet=quiet)
    answers = Answers()
    with Connection(context.config.server) as connection:
        context.outbox.flush(connection)
        status = connection.ask("status", {})
        if not status["newest"]:
            raise UsageError("There is no generation yet.", "Run backup_data.py first.")
        with reporter.steps(f"check ({level})", _entries(connection, generation) if reporter.live else 0) as advance:

            def listen(answer: dict[str, Any]) -> None:
                answers.take(answer)
                advance(int(answer.get("progress", 0)))

            verified = connection.ask("verify", {"level": level, "generation": generation}, listen)
        # Before the server is asked: what a backup signs meanwhile is not missed then.
        memory = tamper.Memory(context.state.sealed(), context.state.signed())
        listed = connection.ask("list", {"signatures": True})["generations"]
    rewritten, unsigned = _rewritten(context.config, memory, listed, verified["manifests"])
    findings = [*answers.findings, *rewritten]
    last = tamper.gone(memory.sealed, (known["generation"] for known in listed))
    if last and not any(finding.code == "gone" for finding in findings):  # by a server that has its own word for it
        findings.append(Finding("gone", last, "", "the generation that was sealed last", "neither it nor a later one"))
    damaged = {finding.generation for finding in findings}
    findings += freshness(status["newest"], time.time(), status["time"], context.config.backup.max_age_hours)
    findings += unwatched(status.get("watch_ran"), status["time"])
    record = {
        "level": level,
        "checked": verified["checked"],
        "entries": verified["entries"],
        "files": verified["files"],
        "read_files": verified["read_files"],
        "read_bytes": verified["read_bytes"],
        "unsigned": list(unsigned.sealed),
        "imported": list(unsigned.imported),
        "findings": [finding.__dict__ for finding in findings],
    }
    whole = [name for name in verified["checked"] if name not in damaged]
    notes = context.state.not_in_backup()
    return Result([str(finding) for finding in findings], record, whole[-1] if whole else "", notes=notes)


def _entries(connection: Connection, generation: str) -> int:
    """How many are to be checked, for the time that is left; those whose record can't be read are told later."""
    records = catalog.generations(connection)
    if generation == "latest":
        records = records[-1:]
    return sum(int(one.get("entries", 0)) for one in records if generation in ("all", "latest", one["generation"]))


def _rewritten(
    config: ClientConfig, memory: tamper.Memory, listed: Iterable[Mapping[str, Any]], manifests: Mapping[str, str]
) -> tuple[list[Finding], tamper.Unsigned]:
    """What was rewritten on the server, and which generations nobody signed."""
    shown = tamper.shown(listed)
    if shown is None:
        return [*tamper.tampered(manifests, memory.sealed), *tamper.not_shown(memory)], tamper.Unsigned()
    with verifier(config.client, config.server) as verify:
        return list(tamper.judge(shown, manifests, memory, verify)), tamper.unsigned(shown, memory)


def freshness(newest: str, now: float, server_now: float, max_age_hours: int) -> list[Finding]:
    """Whether the newest generation is young enough, and not from the future, by this machine's clock."""
    findings = []
    if abs(server_now - now) > wire.CLOCK_TOLERANCE_SECONDS:
        findings.append(Finding("clock", "", "", "clocks that agree", f"{server_now - now:.0f} s of difference"))
    generation = Generation.parse(newest)
    if generation is None:
        return [*findings, Finding("time", newest, "", "a generation's name", newest)]
    age = now - generation.time.timestamp()
    if age > max_age_hours * 3600:
        findings.append(Finding("stale", newest, "", f"at most {max_age_hours} h old", f"{age / 3600:.1f} h"))
    if age < -wire.CLOCK_TOLERANCE_SECONDS:
        findings.append(Finding("time", newest, "", "a time in the past", f"{-age / 3600:.1f} h in the future"))
    return findings


def unwatched(watch_ran: float | None, server_now: float) -> list[Finding]:
    """Whether the server's own watch, which speaks when this machine can't, has run within a day by the server's clock.

    ``watch_ran`` is None where the server has no watch, and 0 where it never ran.
    """
    if watch_ran is None or abs(server_now - watch_ran) <= _WATCH_HOURS * 3600:
        return []
    found = f"{(server_now - watch_ran) / 3600:.1f} h ago" if watch_ran else "never"
    return [Finding("watch", "", "", f"the server's watch run within {_WATCH_HOURS} h", found)]


def lacking(notes: Iterable[str]) -> list[str]:
    """What a report says of what the newest backup told to lack."""
    missing, copied_open = wire.apart(notes)
    return [f"NOT IN THE NEWEST BACKUP: {line}" for line in missing] + [
        f"COPIED WHILE OPEN, in the newest backup: {line}" for line in copied_open
    ]


def summary(result: Result) -> str:
    """What a person reads at the end of a check."""
    record = result.record
    if "level" not in record:
        return ""
    names = record["checked"]
    which = names[0] if len(names) == 1 else f"{len(names)} generations"
    read = (
        f", {counted(record['read_files'], 'file')} with {size(record['read_bytes'])} read"
        if record["level"] == "full"
        else ""
    )
    lines = [f"Checked {which} ({record['level']}): {counted(record['entries'], 'entry')}{read}."]
    if record.get("unsigned"):
        lines.append(f"{counted(len(record['unsigned']), 'generation')}, sealed before this machine signed any or by a run that "
                     f"broke off: nobody can tell whether anything was rewritten.")  # fmt: skip
    if record.get("imported"):
        lines.append(f"{counted(len(record['imported']), 'generation')}, imported from another program and not signed: nobody can "
                     f"tell whether anything was rewritten.")  # fmt: skip
    lines += [f"PROBLEM {line}" for line in result.findings]
    lines += lacking(result.notes)
    lines.append(
        "Everything is as it was sealed." if not result.findings else f"{counted(len(result.findings), 'problem')}."
    )
    return "\n".join(lines) + "\n"
