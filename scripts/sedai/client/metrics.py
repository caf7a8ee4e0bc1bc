"""What the client tells Prometheus, from its run records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sedai.client.runs import PROGRAMS, program
from sedai.core.errors import ExitCode
from sedai.core.metrics import Sample

_OF_A_BACKUP = {
    "files": "Files in the newest generation that this machine made.",
    "bytes": "Bytes of content in the newest generation that this machine made.",
    "new_bytes": "Bytes of content that were new in it.",
}


def samples(client: str, runs: Sequence[Mapping[str, Any]], waiting: int) -> Iterator[Sample]:
    """The figures of ``runs``, the run records, oldest first; ``waiting``: alerts that the server has not taken."""
    for name in PROGRAMS:
        own = [run for run in runs if program(run) == name]
        if own:
            yield from _program({"client": client, "program": name.replace(" ", "_")}, own)
    sealed = [run for run in runs if run.get("program") == "backup" and run.get("generation")]
    if sealed:
        for key, words in _OF_A_BACKUP.items():
            yield Sample(f"sedai_backup_{key}", words, float(sealed[-1].get(key, 0)), {"client": client})
    yield Sample("sedai_alerts_waiting", "Alerts that the server has not taken yet.", waiting, {"client": client})


def _program(labels: Mapping[str, str], own: Sequence[Mapping[str, Any]]) -> Iterator[Sample]:
    last = own[-1]
    done = [run for run in own if int(run["exit"]) <= ExitCode.FINDINGS]
    clean = [run for run in own if int(run["exit"]) == ExitCode.CLEAN]
    yield Sample("sedai_last_run_timestamp_seconds", "When the last run ended.", float(last["ended"]), labels)
    for name, words, found in (
        ("sedai_last_done_timestamp_seconds", "When the last run ended that was done, with findings or without.", done),
        ("sedai_last_success_timestamp_seconds", "When the last run ended that was done and clean.", clean),
    ):
        if found:
            yield Sample(name, words, float(found[-1]["ended"]), labels)
    span = float(last["ended"]) - float(last["started"])
    yield Sample("sedai_last_duration_seconds", "How long the last run took.", span, labels)
    words = "How the last run ended: 0 clean, 1 findings, 2 usage or configuration, 3 not done."
    yield Sample("sedai_last_exit_code", words, int(last["exit"]), labels)
    findings = len(last.get("lines", ())) if int(last["exit"]) == ExitCode.FINDINGS else 0
    yield Sample("sedai_findings", "What the last run found, in lines.", findings, labels)
