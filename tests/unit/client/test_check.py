"""What the check judges by itself: age, clocks, and manifests that are not the ones that were sealed."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.client.check import Answers, freshness, summary, unwatched
from sedai.client.program import Result
from sedai.client.state import State
from sedai.client.tamper import tampered
from sedai.core import wire

SEALED = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
NAME = "20260101T120000Z-000007"
HOUR = 3600.0


@pytest.mark.parametrize(
    ("now", "server_now", "codes"),
    [
        (SEALED + HOUR, SEALED + HOUR, []),
        (SEALED + 26 * HOUR, SEALED + 26 * HOUR, []),
        (SEALED + 27 * HOUR, SEALED + 27 * HOUR, ["stale"]),
        (SEALED + HOUR, SEALED + HOUR + 299, []),
        (SEALED + HOUR, SEALED + 2 * HOUR, ["clock"]),
        (SEALED - 2 * HOUR, SEALED - 2 * HOUR, ["time"]),
        (SEALED - 2 * HOUR, SEALED + HOUR, ["clock", "time"]),
    ],
)
def test_the_newest_must_be_fresh_and_the_clocks_agree(now: float, server_now: float, codes: list[str]) -> None:
    assert [finding.code for finding in freshness(NAME, now, server_now, 26)] == codes


@pytest.mark.parametrize(
    ("watch_ran", "found"),
    [
        (None, []),
        (SEALED, []),
        (SEALED - 24 * HOUR, []),
        (SEALED - 25 * HOUR, ["25.0 h ago"]),
        (SEALED + 25 * HOUR, ["-25.0 h ago"]),
        (0.0, ["never"]),
    ],
)
def test_a_watch_that_does_not_run_is_found(watch_ran: float | None, found: list[str]) -> None:
    assert [finding.found for finding in unwatched(watch_ran, SEALED)] == found


def test_a_rewritten_manifest_is_found() -> None:
    sealed = {NAME: "aa", "20260102T120000Z-000008": "bb"}
    assert tampered({NAME: "aa"}, sealed) == []
    [finding] = tampered({NAME: "cc", "20260103T120000Z-000009": "dd"}, sealed)
    assert (finding.code, finding.generation) == ("tampered", NAME)


def test_a_problem_names_path_generation_expected_and_found() -> None:
    answers = Answers()
    answers.take({"progress": 5})
    problem = {
        "code": "content",
        "generation": NAME,
        "path": wire.pack(b"etc/\xff\n"),
        "expected": "CRC32 1",
        "found": "CRC32 2",
    }
    answers.take({"problem": problem})
    [finding] = answers.findings
    assert str(finding) == f"content: /etc/\\xff\\n in {NAME}: expected CRC32 1, found CRC32 2"


def test_each_report_lists_what_the_newest_backup_lacks(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.not_in_backup() == []
    state.record_run({"program": "backup", "generation": "G1", "not_in_backup": ["/old"]})
    state.record_run({"program": "backup", "generation": "G2", "not_in_backup": ["/srv/x is missing"]})
    state.record_run({"program": "backup", "generation": ""})  # it failed
    state.record_run({"program": "check", "generation": "G2"})
    assert state.not_in_backup() == ["/srv/x is missing"]
    record = {"level": "quick", "checked": ["G2"], "entries": 3}
    assert "NOT IN THE NEWEST BACKUP: /srv/x is missing\n" in summary(
        Result(record=record, notes=state.not_in_backup())
    )


def test_a_check_says_that_the_server_s_watch_stands_still(tmp_path: Path) -> None:
    """Nobody else would: the watch is what tells when this machine is silent."""
    pair = Pair(tmp_path, direct=True)
    pair.write("letter")
    pair.backup()
    with (tmp_path / "server.toml").open("a") as settings:
        settings.write(f'[watch]\nstate_directory = "{tmp_path}/watch"\n')
    (tmp_path / "watch").mkdir()

    def ran(hours_ago: float) -> None:
        notes = {"ran": time.time() - hours_ago * 3600, "known_since": {}, "open": {}}
        (tmp_path / "watch/watch.json").write_text(json.dumps(notes))

    ran(1)
    assert pair.check().findings == []
    ran(48)
    [finding] = pair.check().findings
    assert finding.startswith("watch: ") and "48.0 h ago" in finding
