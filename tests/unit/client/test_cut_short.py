"""A client that goes away while it says what is to be sealed: what it had sent stays, and the next run goes on from there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gate_pair import Pair

from sedai.core import wire
from sedai.core.errors import ServerError


@pytest.mark.parametrize(
    "said, words, stays",
    [
        (b"-gone\n", "ended early", True),
        (b"-go", "ended early", True),
        (b"", "ended early", True),
        # It is the whole list, and not what the base has.
        (b"-gone\n" + wire.CHANGES_END, "does not have", False),
    ],
)
def test_what_was_sent_stays(tmp_path: Path, said: bytes, words: str, stays: bool) -> None:
    pair = Pair(tmp_path)
    pair.write("file")
    base = pair.backup()
    sent = pair.store.delta / "sent"
    sent.write_text("much")
    record = pair.store.record(pair.store.find(base))
    request = {
        "base": base,
        "base_manifest_sha256": record.manifest_sha256,
        "entries": 1,
        "started": "now",
        "sources": [],
    }
    with pair.connect() as connection:
        connection.ask("begin", {"time": time.time()})
        with pytest.raises(ServerError, match=words):
            list(connection.stream("seal", request, [said], lambda answer: None))
        assert sent.exists() is stays
    pair.backup()
