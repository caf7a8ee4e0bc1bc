"""What a person is told who asks for dumps where there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gate_pair import QUIET, Pair

from sedai.client import catalog
from sedai.client.archive import Archive
from sedai.client.config import Database
from sedai.core.errors import UsageError

MAIN = Database("main", "postgresql")


@pytest.mark.parametrize(
    ("databases", "generations", "sentence", "fix"),
    [
        ((), 1, r"No database is configured \(backup_client_databases\)", "own.yml, run `ansible-playbook site.yml`"),
        ((), 2, r"No database is configured \(backup_client_databases\)", "name that with --generation"),
        ((MAIN,), 1, "has no dumps of databases", "There is no other one yet: backup_data.py makes one"),
        ((MAIN,), 2, "has no dumps of databases", "Name another one with --generation."),
    ],
)
def test_what_can_be_done_is_named(
    tmp_path: Path, databases: tuple[Database, ...], generations: int, sentence: str, fix: str
) -> None:
    pair = Pair(tmp_path, direct=True)
    pair.write("file")
    for _ in range(generations):
        pair.backup()
    config = replace(pair.config, databases=databases, staging_directory=tmp_path / "staging")
    with pair.connect() as connection:
        record = catalog.generations(connection)[-1]
        archive = Archive(connection, config, pair.state, record, QUIET, tmp_path)
        with pytest.raises(UsageError, match=sentence) as refused:
            archive.notes()
    assert fix in refused.value.hint
    assert ("--generation" in refused.value.hint) is (not databases or generations == 2)
