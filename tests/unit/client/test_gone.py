"""A generation that nobody pruned and that is not there any more is named by each check."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gate_pair import Pair


def made(tmp_path: Path, backups: int, keep_last: int = 10) -> tuple[Pair, list[str]]:
    pair = Pair(tmp_path, keep_last=keep_last, direct=True)
    pair.write("letter")
    return pair, [pair.backup() for _ in range(backups)]


def lose(pair: Pair, name: str) -> None:
    shutil.rmtree(pair.store.directory(pair.store.find(name)))


def missed(pair: Pair) -> list[str]:
    """What a check of the newest generation alone finds gone; it must find nothing else."""
    findings = pair.check().record["findings"]
    assert {one["code"] for one in findings} <= {"gone"}
    return [one["generation"] for one in findings]


def noted(pair: Pair) -> list[str]:
    return sorted(path.name for path in (pair.store.root / "known").iterdir())


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_of_them(tmp_path: Path, which: int) -> None:
    pair, names = made(tmp_path, 3)
    lose(pair, names[which])
    assert missed(pair) == [names[which]]
    pair.run()
    assert missed(pair) == [names[which]]


def test_one_whose_name_has_rotted(tmp_path: Path) -> None:
    pair, names = made(tmp_path, 2)
    place = pair.store.directory(pair.store.find(names[0]))
    place.rename(place.with_name(names[0].replace("T", "D")))
    assert missed(pair) == [names[0]]


def test_who_removed_it_says_so_as_the_finding_tells(tmp_path: Path) -> None:
    pair, names = made(tmp_path, 2)
    lose(pair, names[0])
    [finding] = pair.check().findings
    note = pair.store.root / "known" / names[0]
    assert f"if you removed it yourself, remove {note} too" in str(finding)
    note.unlink()
    assert missed(pair) == []


def test_what_was_pruned_is_not_missed(tmp_path: Path) -> None:
    pair, names = made(tmp_path, 4, keep_last=2)
    assert missed(pair) == []
    assert noted(pair) == [str(one) for one in pair.store.generations()]
    assert names[1] not in noted(pair)  # the first of a day is guarded


def test_what_would_have_been_pruned_by_now_is_missed_no_more(tmp_path: Path) -> None:
    pair, names = made(tmp_path, 3, keep_last=4)
    lose(pair, names[1])
    pair.backup()
    assert missed(pair) == [names[1]]  # one of the four
    pair.backup()
    assert missed(pair) == []


def test_a_store_of_an_earlier_version(tmp_path: Path) -> None:
    pair, names = made(tmp_path, 2)
    shutil.rmtree(pair.store.root / "known")
    assert missed(pair) == []
    assert noted_after_backup(pair) == [str(one) for one in pair.store.generations()]
    lose(pair, names[0])
    assert missed(pair) == [names[0]]


def noted_after_backup(pair: Pair) -> list[str]:
    pair.backup()
    return noted(pair)


def test_one_that_is_pruned_while_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, names = made(tmp_path, 2)
    note = pair.store.root / "known" / names[0]
    exists = Path.exists

    def pruned_just_now(path: Path) -> bool:
        if path == pair.store.generations_directory / names[0]:
            note.unlink()
            shutil.rmtree(path)
        return exists(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", pruned_just_now)
        assert missed(pair) == []
