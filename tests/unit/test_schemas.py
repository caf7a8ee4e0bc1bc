"""The JSON that programs read is what its schema says, and nothing that the schema does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import server_samples as server
import status_samples as client
from jsonschema import Draft202012Validator

from sedai.client.states import Condition
from sedai.client.status import Status
from sedai.server.facts import ClientFacts, GenerationFacts
from sedai.server.judge import Finding
from sedai.server.report import Material, OpenIncident
from sedai.server.status import table

SCHEMAS = Path(__file__).parents[2] / "files/schema"


def schema(name: str) -> Draft202012Validator:
    content = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def as_read(value: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(value)))


WELL, LONELY = client.WELL, Status("laptop", client.NOW, error="no route")
ILL = replace(
    WELL,
    generations=(client.record(1, 3), {"generation": "20260101T000000Z-000002", "error": "damaged"}),
    conditions={str(client.record(1, 3)["generation"]): Condition(problems=2, day="2026-01-31")},
    not_in_backup=("/home/a",),
)


@pytest.mark.parametrize("status", [WELL, LONELY, ILL])
def test_of_a_client(status: Status) -> None:
    schema("backup_status").validate(as_read(status.table()))


UNSEEN = ClientFacts("x", 0, 1, (GenerationFacts("g", 1, error="damaged"),), error="no room", unseen=True)
FOUND = (Finding("missing", "desk", figures={"days": 2}),)
BAD = Material(replace(server.WELL.facts, clients=(UNSEEN,), disk=None, open=frozenset({"k"})), FOUND,
               [OpenIncident("subject", 1.5, 3)], 0, {"laptop": 2}, error="no sudo")  # fmt: skip


@pytest.mark.parametrize("material", [server.WELL, BAD])
def test_of_a_server(material: Material) -> None:
    schema("server_status").validate(as_read(table(material)))


@pytest.mark.parametrize("name, value", [("backup_status", WELL.table()), ("server_status", table(server.WELL))])
def test_a_key_that_goes_or_comes_is_noticed(name: str, value: dict[str, Any]) -> None:
    for key in value:
        assert not schema(name).is_valid(as_read({one: value[one] for one in value if one != key})), key
    assert not schema(name).is_valid(as_read(value | {"new": 1}))
