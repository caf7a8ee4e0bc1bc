"""What a run that broke off had sent stands in the way of the next one: it is given up, and the run goes on by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_pair import Pair


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_a_directory_that_was_sent_is_something_else_now(tmp_path: Path, kind: str) -> None:
    """rsync replaces no directory that is not empty."""
    pair = Pair(tmp_path)
    pair.write("other")
    pair.backup()
    sent = pair.store.delta / str(pair.source)[1:] / "restless"
    sent.mkdir(parents=True)
    (sent / "below").write_text("sent by a run that was killed")
    restless = pair.source / "restless"
    if kind == "file":
        restless.write_text("now")
    else:
        restless.symlink_to("other")
    newest = pair.backup()
    stored = pair.stored(newest, restless)
    assert stored.is_symlink() if kind == "symlink" else stored.read_text() == "now"


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_was_sent_is_in_the_place_of_a_directory_in_which_a_run_begins(tmp_path: Path, kind: str) -> None:
    pair = Pair(tmp_path)
    pair.write("other")
    pair.backup()
    sent = pair.store.delta / str(pair.source)[1:]
    sent.parent.mkdir(parents=True)
    if kind == "file":
        sent.write_text("sent by a run that was killed")
    else:
        sent.symlink_to(tmp_path)
    pair.write("new")
    assert pair.stored(pair.backup(), pair.source / "new").read_text() == "new"
