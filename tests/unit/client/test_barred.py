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
