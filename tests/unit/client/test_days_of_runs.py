"""What the server notes of each day's runs: one that was sealed, one that came to nothing, and not one that only looked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from gate_pair import QUIET, Pair

from sedai.client.backup import Run
from sedai.client.stage import Staged
from sedai.core.errors import SedaiError
from sedai.server import days


def test_each_run_is_noted_and_a_dry_one_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(tmp_path)
    pair.write("file")
    with pair.connect() as connection:
        Run(pair.config, pair.state, connection, QUIET, Staged()).carry_out(dry_run=True)
    assert days.noted(pair.store) == {}
    today = days.day(datetime.now(UTC))
    with monkeypatch.context() as broken:
        broken.setattr(Run, "_send", lambda run: (_ for _ in ()).throw(SedaiError("it broke off")))
        with pytest.raises(SedaiError):
            pair.backup()
    assert days.noted(pair.store) == {today: 0}
    pair.backup()
    pair.backup()
    assert sum(days.noted(pair.store).values()) == 2
