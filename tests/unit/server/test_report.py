"""The weekly mail says how things are, in both languages, and comes whatever happens."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from server_samples import DAY, DESK, GIB, LAPTOP, NOW, WELL

from sedai.core.errors import ConfigError, ExitCode, ProcessError
from sedai.server import housekeeping
from sedai.server.config import ClientRules, ServerConfig, Watch
from sedai.server.facts import Disk, Facts
from sedai.server.judge import Finding
from sedai.server.report import Material, OpenIncident, compose, report
from sedai.server.store import ClientStore

LOG = logging.getLogger("test")
HERE = os.uname().nodename
EN = ServerConfig(Path("/srv/sedai"), Path("/log"))
JA = replace(EN, language="ja")


def test_all_is_well() -> None:
    mail = compose(WELL, EN).checked()
    assert mail.subject == f"[sedai] {HERE}: weekly report: all is well"
    assert mail.incident == mail.resolved == ""
    for line in (
        "What to do:\nNothing.\n\nWrong now:\nnothing",
        "Reported and not over:\nnothing",
        "desk: no generation",
        "laptop: 5 generations, the newest g4, 4 hours old; 1,004 files, 10.0 GiB; 2.0 GiB of new content a day",
        # also what was pruned, a day without any run, and one on which none came to its end
        "Backups by day (UTC):\nlaptop: 03-02 1, 03-03 2, 03-04 -, 03-05 failed, 03-06 1, 03-07 1, 03-08 1, 03-09 1, 03-10 1\n",
        "Disk of /srv/sedai:\n40.0 GiB of 100.0 GiB free (60 % used), enough for 20 days",
        "since 2026-03-05 12:00 UTC or later",
        "Mails:\nNo mail waits.",
    ):
        assert line in mail.body


@pytest.mark.parametrize(("language", "words"), [("en", ", enough for more than 10 years"), ("ja", "、10 年分以上")])
def test_no_figure_is_given_for_more_than_ten_years(language: str, words: str) -> None:
    """2 GiB a day."""
    for free, many in ((7200 * GIB, False), (7400 * GIB, True)):
        facts = replace(WELL.facts, disk=Disk(8000 * GIB, free, 100, 50))
        body = compose(replace(WELL, facts=facts), replace(EN, language=language)).body
        assert (f"{words}\n" in body, bool(re.search(r"3\d{3} (?:days|日)", body))) == (many, not many)


def test_a_run_of_today_has_not_failed_yet() -> None:
    laptop = replace(LAPTOP, days={"2026-03-09": 0, "2026-03-10": 0})
    body = compose(replace(WELL, facts=replace(WELL.facts, clients=(laptop,))), EN).body
    assert "by day (UTC):\nlaptop: 03-09 failed, 03-10 -\n" in body


@pytest.mark.parametrize(
    "language, words",
    [
        (
            "en",
            "enough for 20 days, not counting what pruning frees\nAbout 4.0 GiB less would be used on XFS or btrfs: big files",
        ),
        ("ja", "\nXFS か btrfs なら使用量が約 4.0 GiB 減ります"),
    ],
)
def test_what_reflinks_would_save(language: str, words: str) -> None:
    """Of the generations that have the one before them still beside them; a little is not worth the work."""
    for much in (GIB, GIB // 5):
        made = tuple(replace(one, shareable_bytes=much) for one in LAPTOP.whole)
        told = replace(WELL, facts=replace(WELL.facts, clients=(DESK, replace(LAPTOP, generations=made))))
        assert (words in compose(told, replace(EN, language=language)).body) == (much == GIB)
    assert "btrfs" not in compose(WELL, replace(EN, language=language)).body


def test_japanese() -> None:
    mail = compose(WELL, JA).checked()
    assert mail.subject == f"[sedai] {HERE}: 週間レポート: 異常なし"
    assert "laptop: 5 世代、最新は g4 (4 時間前)" in mail.body
    assert "laptop: 03-02 1, 03-03 2, 03-04 -, 03-05 失敗, 03-06 1" in mail.body
    assert not [
        line for line in mail.body.splitlines() if line.isascii() and line and not line.startswith("laptop: 03-")
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"findings": [Finding("stale", "laptop")]},
         "laptop: no new backup\nOn laptop, as root:\n~/project/scripts/backup_data.py\n"),
        ({"findings": [Finding("disk")]},
         "server: the disk of the backups is nearly full\nOn this server, as root:\ndf -h /srv/sedai\n"),
        ({"rotten": {"laptop": 3}}, "laptop: 3 damaged things in what is stored\nOn laptop, as root:\n~/project/"),
        ({"incidents": [OpenIncident("[sedai] laptop: backup FAILED", NOW - DAY, 1)]},
         "[sedai] laptop: backup FAILED (since 2026-03-09 12:00 UTC, reported 1 time)"),
        ({"mails": "Given up, kept in /x:\n  1.mail"}, "Mails:\nGiven up, kept in /x:"),
        ({"mails": "Given up, kept in /x:\n  1.mail"}, "Wrong now:\nmails do not leave"),
        ({"error": "sudo: a password is required"}, "could not be asked: sudo: a password is required"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_in_the_subject(changes: dict[str, object], words: str) -> None:
    mail = compose(replace(WELL, **changes), EN).checked()  # type: ignore[arg-type]
    assert mail.subject == f"[sedai] {HERE}: weekly report: 1 problem"
    assert words in mail.body
    assert mail.body.startswith("Wrong now:\n") and "What to do:" not in mail.body


@pytest.mark.parametrize("language", ["en", "ja"])
def test_nothing_at_all_is_a_report_too(language: str) -> None:
    compose(Material(Facts(NOW, (), None), [], [], 0.0, {}), replace(EN, language=language)).checked()


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """A server whose sender knows of one open incident and writes down what it is given."""
    incident = json.dumps({"key": "client:laptop:backup", "first": NOW, "total": 3, "subject": "バックアップ失敗"})
    sender = tmp_path / "send_alert_email.sh"
    sender.write_text(
        f"""#!/bin/sh
        case "$1" in
        --incidents) printf '%s\\n' '{incident}' ;;
        --list) echo 'No mail waits.' ;;
        *) printf '%s\\n' "$@" >>{tmp_path}/calls; cat >>{tmp_path}/body ;;
        esac
        """
    )
    sender.chmod(0o700)
    ClientStore(tmp_path / "store" / "laptop").prepare()
    (tmp_path / "watch").mkdir()
    return ServerConfig(
        tmp_path / "store", tmp_path / "log", alert_command=(str(sender),), clients={"laptop": ClientRules()},
        watch=Watch(tmp_path / "watch", disk_percent=100, disk_days=0),
    )  # fmt: skip


def test_it_is_sent_with_what_is_open_at_the_sender(
    config: ServerConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert housekeeping.carry_out("report", config) is ExitCode.CLEAN
    assert (tmp_path / "calls").read_text().splitlines()[0] == f"[sedai] {HERE}: weekly report: 1 problem"
    body = (tmp_path / "body").read_text()
    assert "バックアップ失敗 (since" in capsys.readouterr().out
    assert "laptop: no generation" in body and "バックアップ失敗 (since" in body


def test_what_the_watch_and_the_scrub_noted_is_in_it(config: ServerConfig, tmp_path: Path) -> None:
    now = time.time()
    notes = {"ran": now, "known_since": {"laptop": now - 20 * DAY}, "open": {}}
    (tmp_path / "watch" / "watch.json").write_text(json.dumps(notes))
    scrubbed = {"started": now - 20 * DAY, "read": [now - DAY] * 7, "rotten": {"laptop": {"a line": 5}}}
    (tmp_path / "watch" / "scrub.json").write_text(json.dumps(scrubbed))
    report(config, LOG)
    body = (tmp_path / "body").read_text()
    never, rot = body.partition("\n\n")[0].split("laptop: 1 damaged thing in what is stored\n")
    assert never.startswith("Wrong now:\nlaptop: there is no backup\nOn laptop, as root:\n")
    assert rot.startswith("On laptop, as root:\n")


@pytest.mark.parametrize("answer", ["exit 1", "echo rubbish", "echo '{}'"])
def test_a_sender_that_can_not_be_asked_is_said(config: ServerConfig, tmp_path: Path, answer: str) -> None:
    sender = Path(config.alert_command[0])
    sender.write_text(sender.read_text().replace("printf '%s\\n' '{", f"{answer}; : '{{"))
    report(config, LOG)
    assert "could not be asked" in (tmp_path / "body").read_text()


def test_another_command_is_asked_nothing(config: ServerConfig, tmp_path: Path) -> None:
    other = Path(config.alert_command[0]).rename(tmp_path / "mailer")
    report(replace(config, alert_command=(str(other),)), LOG)
    assert (tmp_path / "calls").read_text().splitlines() == [f"[sedai] {HERE}: weekly report: all is well"]


def test_one_that_can_not_be_sent_is_an_error(config: ServerConfig) -> None:
    Path(config.alert_command[0]).write_text("#!/bin/sh\nexit 73\n")
    with pytest.raises(ProcessError):
        housekeeping.carry_out("report", config)
    with pytest.raises(ConfigError):
        report(replace(config, watch=Watch()), LOG)


@pytest.mark.parametrize(
    ("language", "title"), [("en", "Not in the newest backups"), ("ja", "最新のバックアップに含まれないもの")]
)
def test_what_the_newest_backup_lacks_is_told_every_week(language: str, title: str) -> None:
    generations = (
        replace(LAPTOP.generations[0], not_in_backup=("/old: gone",)),
        replace(LAPTOP.generations[1], not_in_backup=("/var/lib/redis holds live files",)),
    )
    facts = replace(WELL.facts, clients=(DESK, replace(LAPTOP, generations=generations)))
    body = compose(replace(WELL, facts=facts), replace(EN, language=language)).body
    assert f"{title}:\nlaptop: /var/lib/redis holds live files\n" in body
    assert "/old" not in body


@pytest.mark.parametrize(("language", "title"), [("en", "copied while open"), ("ja", "使用中にコピーされたもの")])
def test_what_was_copied_while_it_was_open_is_not_told_as_missing(language: str, title: str) -> None:
    told = ("/x is missing", "copied while open: /a.db: live files of SQLite, not dumped")
    client = replace(LAPTOP, generations=(replace(LAPTOP.generations[1], not_in_backup=told),))
    body = compose(replace(WELL, facts=replace(WELL.facts, clients=(client,))), replace(EN, language=language)).body
    assert ":\nlaptop: /x is missing\n\n" in body
    assert f"{title}:\nlaptop: /a.db: live files of SQLite, not dumped\n\n" in body
    assert title not in compose(WELL, replace(EN, language=language)).body
