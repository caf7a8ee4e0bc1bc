"""Which directories are snapshots, of when, which of them are wanted, and what their paths are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sedai.core.errors import UsageError
from sedai.core.generation import Retention
from sedai.server import snapshots
from sedai.server.snapshots import Snapshot

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine nine hours east of Greenwich."""
    monkeypatch.setenv("TZ", "XST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "name, moment",
    [
        ("2026-01-31-031500", "2026-01-30T18:15:00"),
        ("2026-01-31", "2026-01-30T15:00:00"),
        ("20260131", "2026-01-30T15:00:00"),
        ("2026-01-31_03-15", "2026-01-30T18:15:00"),
        ("2026-01-31T03:15:10", "2026-01-30T18:15:10"),
        ("20260131T031500Z", "2026-01-31T03:15:00"),
        ("backup-2026.01.31", "2026-01-30T15:00:00"),
        ("laptop 2026-01-31 0315", "2026-01-30T18:15:00"),
    ],
)
def test_dates_in_names_are_of_this_machine(name: str, moment: str) -> None:
    assert snapshots.find([(name, 0.0)], "auto", "/old") == ("dated", [Snapshot(name, at(moment))])


@pytest.mark.parametrize(
    "name",
    [
        "latest",
        "2026-13-01",
        "2026-02-30",
        "2026-01-31-250000",
        "current",
        "12345",
        "2026-0131",
        "backup.marker",
        "0500-01-31",
        "python3.13",
        ".0",
        "5.0",
    ],
)
def test_what_is_no_snapshot(name: str) -> None:
    with pytest.raises(UsageError, match="no snapshot in /old"):
        snapshots.find([(name, 0.0)], "auto", "/old")


def test_rsnapshot_is_ordered_by_time_and_by_number_where_that_is_the_same() -> None:
    found = [("daily.0", 300.9), ("daily.1", 200.0), ("daily.10", 100.0), ("weekly.0", 100.0), (".sync", 400.0),
             ("_delete.77777", 1.0), ("hourly.0", 350.0), ("lost+found", 1.0)]  # fmt: skip
    layout, ordered = snapshots.find(found, "auto", "/old")
    assert layout == "rsnapshot"
    assert [one.name for one in ordered] == ["daily.10", "weekly.0", "daily.1", "daily.0", "hourly.0"]
    assert ordered[3].time == datetime.fromtimestamp(300, UTC)


def test_a_time_that_is_none_makes_no_snapshot() -> None:
    assert snapshots.find([("daily.0", 1.0), ("daily.1", 1e30)], "auto", "/old")[1] == [
        Snapshot("daily.0", datetime.fromtimestamp(1, UTC))
    ]


def test_two_layouts_are_asked_about() -> None:
    both = [("daily.0", 1.0), ("2026-01-31", 1.0)]
    with pytest.raises(UsageError, match="two layouts") as refused:
        snapshots.find(both, "auto", "/old")
    assert "--layout rsnapshot: 1, --layout dated: 1" in refused.value.hint
    assert [one.name for one in snapshots.find(both, "dated", "/old")[1]] == ["2026-01-31"]
    with pytest.raises(UsageError, match="no snapshot"):
        snapshots.find([("daily.0", 1.0)], "dated", "/old")


def test_the_rule_chooses_among_those_that_can_be_taken() -> None:
    made = [Snapshot(f"daily.{9 - day}", NOW - timedelta(days=9 - day)) for day in range(10)]
    same = Snapshot("hourly.1", made[4].time)
    future = Snapshot("odd.0", NOW + timedelta(days=1))
    found = [*made[:5], same, *made[5:], future]
    wanted, left_out = snapshots.choose(
        found, Retention(keep_last=3, keep_weekly=2), NOW, {"daily.0": "it is not finished"}
    )
    assert [one.name for one in wanted] == ["daily.7", "daily.3", "daily.2", "daily.1"]
    assert {item.snapshot.name: item.why for item in left_out if "the rule" not in item.why} == {
        "daily.0": "it is not finished",
        "hourly.1": "it has the time of daily.5",
        "odd.0": "its time is in the future",
    }
    assert len(wanted) + len(left_out) == len(found)


@pytest.mark.parametrize(
    "tops, layout, strip",
    [
        ({"a": [b"localhost"], "b": [b"localhost"]}, "rsnapshot", b"localhost"),
        ({"a": [b"localhost"], "b": []}, "rsnapshot", b"localhost"),
        ({"a": [b"home"], "b": [b"home"]}, "rsnapshot", b""),
        ({"a": [b"etc", b"home"]}, "rsnapshot", b""),
        ({"a": [b"localhost"]}, "dated", b""),
        ({"a": []}, "rsnapshot", b""),
    ],
)
def test_what_is_taken_off_the_paths(tops: dict[str, list[bytes]], layout: str, strip: bytes) -> None:
    assert snapshots.strip_of(tops, layout) == strip


def test_several_machines_are_asked_about() -> None:
    with pytest.raises(UsageError, match=r"several machines or backup points: db\.example\.com, localhost"):
        snapshots.strip_of({"a": [b"localhost"], "b": [b"localhost", b"db.example.com"]}, "rsnapshot")


def test_a_path_of_a_person_becomes_one_of_a_tree() -> None:
    assert [snapshots.tree_path(text) for text in ("/home", "home/", "//a/./b", "", "/", "caf\udcff")] == [
        b"home", b"home", b"a/b", b"", b"", b"caf\xff"]  # fmt: skip
    with pytest.raises(UsageError):
        snapshots.tree_path("../etc")
