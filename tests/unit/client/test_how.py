"""What docs/how.md says can be seen of a generation, seen with the page's own commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from gate_pair import SCRIPTS, Pair

PAGE = (SCRIPTS.parent / "docs/how.md").read_text(encoding="utf-8")


def test_what_is_in_a_generation_and_who_shares_what(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    same, changing = pair.write("same"), pair.write("changing", "Monday")
    generations = [pair.backup()]
    for day in ("Tuesday", "a new file besides"):
        pair.write("changing" if day == "Tuesday" else "new", day)
        generations.append(pair.backup())
    listing, names, note = (
        line.removeprefix("sudo ").replace("/srv/sedai/laptop", str(pair.store.root))
        for line in PAGE.splitlines()
        if line.startswith("sudo ")
    )

    def said(command: str) -> str:
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout  # noqa: S602  the page's words

    assert [line.split()[-1] for line in said(listing).splitlines()[1:]] == generations
    assert "/etc/passwd" in names
    for file, holders in ((same, generations), (changing, generations[1:])):
        found = said(names.replace("/etc/passwd", str(file))).splitlines()
        assert sorted(found) == [str(pair.stored(each, file)) for each in holders]
    assert "needs only ssh and rsync" in said(note)

    told = set(re.findall(r"`((?:tree/|[\w.]+\.(?:json|sig|txt)|manifest)+)`", PAGE))
    there = {path.name + "/" * path.is_dir() for path in pair.store.directory(pair.store.newest()).iterdir()}  # type: ignore[arg-type]
    assert told == there
