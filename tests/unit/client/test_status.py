"""The status: what needs a look, in both languages, and when cron runs what next."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console
from status_samples import DAY, GIB, NOW, SCRIPTS, WELL, record

from sedai.client import schedule, status_page, status_table, status_words
from sedai.client.runs import PROGRAMS, Run, last_runs
from sedai.client.states import Condition
from sedai.client.status import Status, attention


def kinds(status: Status) -> list[str]:
    return [item.kind for item in attention(status)]


def test_all_is_well() -> None:
    assert attention(WELL) == []
    assert shown(WELL, "en").startswith("All is well.\n")
    assert shown(WELL, "ja").startswith("異常なし。\n")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"error": "no route", "generations": (), "server": {}}, ["unreachable"]),
        ({"paused": "another machine's place"}, ["paused"]),
        ({"generations": ()}, ["none"]),
        ({"generations": (record(1, 3),)}, ["stale"]),
        ({"generations": (record(1, -1),)}, ["time"]),
        ({"conditions": {record(1, 2.1)["generation"]: Condition(problems=2, day="2026-01-31")}}, ["damaged"]),
        ({"server": dict(WELL.server) | {"time": NOW + 400}}, ["clock"]),
        ({"server": dict(WELL.server) | {"watch_ran": NOW - 2 * DAY}}, ["watch"]),
        ({"server": dict(WELL.server) | {"frozen": "frozen since yesterday: many files changed"}}, ["frozen"]),
        ({"server": dict(WELL.server) | {"free_bytes": 6 * GIB}}, ["full"]),
        ({"runs": {"backup": Run(0, 0, 3, ("no route",))}}, ["failed_backup"]),
        ({"runs": {"backup": Run(0, 0, 1)}}, ["findings_backup"]),
        ({"runs": {"full check": Run(0, 0, 1)}}, ["findings_full_check"]),
        ({"runs": {"restore drill": Run(0, 0, 3), "check": Run(0, 0, 3)}}, ["failed_restore_drill", "failed_check"]),
        ({"waiting": 2}, ["waiting"]),
        ({"set_aside": ("/state/alerts/1.refused", "/a state/2.refused")}, ["set_aside"]),
        ({"next_runs": {name: NOW for name in PROGRAMS if name != "restore drill"}}, ["unplanned"]),
    ],
)
def test_what_needs_a_look_is_named_with_its_command(changes: dict[str, Any], expected: list[str]) -> None:
    status = replace(WELL, **changes)
    assert kinds(status) == expected
    for language in ("en", "ja"):
        text = shown(status, language)
        for item in attention(replace(status, language=language)):
            assert status_words.title(item, language) in text
            assert status_words.command(item, "laptop", SCRIPTS, language) in text


def test_every_word_is_there_in_both_languages() -> None:
    assert status_words._TITLES["en"].keys() == status_words._TITLES["ja"].keys() == status_words._COMMANDS.keys()
    assert status_words.LABELS["en"].keys() == status_words.LABELS["ja"].keys()


def test_the_frozen_client_s_name_is_in_the_command() -> None:
    item = attention(replace(WELL, server=dict(WELL.server) | {"frozen": "x"}))[0]
    assert "'/home/a person/scripts'/restore_data.py diff previous latest; " in status_words.command(
        item, "laptop", SCRIPTS, "en"
    )
    assert "release --client laptop" in status_words.command(item, "laptop", SCRIPTS, "en")


def test_how_long_the_room_lasts() -> None:
    assert WELL.daily_bytes == pytest.approx(GIB, rel=0.01)
    assert WELL.days_left == pytest.approx(100, rel=0.01)
    alone = replace(WELL, generations=WELL.generations[:1])
    assert (alone.daily_bytes, alone.days_left) == (0.0, None)
    assert "enough for about 100 days at 1.0 GiB a day" in shown(WELL, "en")


@pytest.mark.parametrize(("language", "words"), [("en", "enough for more than 10 years at"), ("ja", "10 年分以上")])
def test_no_figure_is_given_for_more_than_ten_years(language: str, words: str) -> None:
    for free, many in ((3600 * GIB, False), (3700 * GIB, True)):
        server = dict(WELL.server) | {"free_bytes": free, "total_bytes": 4000 * GIB}
        text = status_words.room(replace(WELL, server=server, language=language))
        assert (words in text) is many
        assert bool(re.search(r"\d{4} (?:days|日)", text)) is not many


@pytest.mark.parametrize(
    "language, words",
    [("en", "; about 2.0 GiB less would be used on XFS or btrfs"), ("ja", "使用量が約 2.0 GiB 減ります")],
)
def test_what_reflinks_would_save(language: str, words: str) -> None:
    """An earlier server does not tell it; a little is not worth the work."""
    for much in (GIB, GIB // 3):
        status = replace(WELL, generations=tuple(one | {"shareable_bytes": much} for one in WELL.generations))
        assert (words in status_words.room(replace(status, language=language))) == (much == GIB)
        assert status.table()["shareable_bytes"] == 2 * much
    assert "btrfs" not in status_words.room(replace(WELL, language=language))


def test_a_record_that_can_not_be_read_is_shown() -> None:
    broken = {"generation": record(4, 0.05)["generation"], "error": "unreadable"}
    conditions = {broken["generation"]: Condition(error="unreadable")}
    status = replace(WELL, generations=(*WELL.generations, broken), conditions=conditions)
    assert kinds(status) == ["damaged"]
    assert broken["generation"] in shown(status, "en")
    assert status.days_left == pytest.approx(100, rel=0.01)


def test_what_is_not_in_it_is_shown() -> None:
    assert "/srv/redis: live files of Redis" in shown(
        replace(WELL, not_in_backup=("/srv/redis: live files of Redis",)), "ja"
    )


def test_what_was_copied_while_it_was_open_is_shown_apart() -> None:
    told = ("/x is missing", "copied while open: /a.db: live files of SQLite, not dumped")
    text = shown(replace(WELL, not_in_backup=told), "en")
    assert "Not in the newest backup:\n- /x is missing\n" in text
    assert "In the newest backup, but copied while open:\n- /a.db: live files of SQLite, not dumped\n" in text
    assert "Not in the newest backup" not in shown(replace(WELL, not_in_backup=told[1:]), "en")


@pytest.mark.parametrize("language, words, none", [
    ("en", "Last alert: ", "none is known"), ("ja", "最後の通知: ", "記録なし"),
])  # fmt: skip
def test_the_last_alert_is_told(language: str, words: str, none: str) -> None:
    assert WELL.last_alert is not None
    text = shown(WELL, language)
    assert words in text and WELL.last_alert.subject in text
    assert words + none in shown(replace(WELL, last_alert=None), language)
    page = status_page.build(replace(WELL, language=language), [], Path("/s"))
    [[line]] = [lines for title, lines in page.notes if f"{title}: " == words]
    assert line.endswith(WELL.last_alert.subject)


def test_programs_get_all_of_it() -> None:
    table = json.loads(json.dumps(replace(WELL, waiting=1).table()))
    assert table["last_alert"]["subject"] == "laptop: backup is clean again"
    assert table["schema"] == 1
    assert table["attention"] == [{"kind": "waiting", "detail": "1"}]
    assert [each["generation"] for each in table["generations"]] == [each["generation"] for each in WELL.generations]
    assert table["runs"]["backup"]["exit"] == 0
    assert table["generations"][0]["state"] == "not checked yet"
    assert table["generations"][0]["condition"]["problems"] == 0


def test_the_last_run_of_each_program_counts() -> None:
    runs = [
        {"program": "backup", "started": 1, "ended": 2, "exit": 3, "lines": ["no route"]},
        {"program": "check", "level": "full", "started": 3, "ended": 4, "exit": 1, "lines": ["rot"]},
        {"program": "backup", "started": 5, "ended": 6, "exit": 0},
        {"program": "check", "level": "quick", "started": 7, "ended": 8, "exit": 0},
        {"program": "other", "started": 9, "ended": 9, "exit": 0},
    ]
    assert last_runs(runs) == {
        "backup": Run(5, 6, 0), "check": Run(7, 8, 0), "full check": Run(3, 4, 1, ("rot",)),
    }  # fmt: skip


CRONTAB = """\
MAILTO=""
#Ansible: sedai backup
15 3 * * * /root/project/scripts/backup_data.py --quiet
#Ansible: sedai full check
30 4 * * 0 /root/project/scripts/check_backup_integrity.py --level full --all
#Ansible: sedai catch up backup
@reboot sleep 300; /root/project/scripts/backup_data.py --catch-up
#Ansible: sedai restore drill
#45 5 1 * * /root/project/scripts/restore_drill.py
#Ansible: other
1 1 1 1 1 /bin/true
0 0 * * * /bin/nothing
#Ansible: sedai check
0 0 31 2 * /root/project/scripts/check_backup_integrity.py
"""


def test_the_next_runs_are_those_of_the_crontab() -> None:
    zone = ZoneInfo("Europe/Berlin")
    found = schedule.next_runs(CRONTAB, datetime(2026, 3, 28, 12, tzinfo=zone))  # the clocks change that night
    assert found == {
        "backup": datetime(2026, 3, 29, 3, 15, tzinfo=zone),
        "full check": datetime(2026, 3, 29, 4, 30, tzinfo=zone),
    }
    assert schedule.next_runs("", datetime(2026, 3, 28, tzinfo=zone)) == {}


def shown(status: Status, language: str) -> str:
    """What a person reads, on a terminal so wide that nothing is folded."""
    output = io.StringIO()
    status_table.show(replace(status, language=language), Console(file=output, width=400), SCRIPTS)
    return output.getvalue()
