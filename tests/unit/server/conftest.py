"""A store to seal into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sedai.server.store import ClientStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    """An empty store of one client."""
    made = ClientStore(tmp_path / "laptop")
    made.prepare()
    return made
