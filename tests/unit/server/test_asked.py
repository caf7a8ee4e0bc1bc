"""Every field of every request: left out or of another kind, it ends in one sentence that names it, and nothing is done."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from sedai.core import wire
from sedai.core.errors import ExitCode, SedaiError, UsageError
from sedai.server.asked import Asked
from sedai.server.config import ClientRules, ServerConfig
from sedai.server.gate import Gate

PATHS = [wire.pack(b"s/a"), wire.pack(b"")]
# What each verb is asked for, as it must be; those that may be left out stand in OPTIONAL.
REQUESTS: dict[str, dict[str, Any]] = {
    "begin": {"time": 1.0, "empty": True},
    "seal": {
        "base": "",
        "base_manifest_sha256": "",
        "entries": 1,
        "started": "",
        "sources": ["/s"],
        "not_in_backup": [],
    },
    "sign": {"generation": "20260101T000000Z-000001", "signature": "x"},
    "list": {"signatures": True},
    "manifest": {"generation": "latest"},
    "find": {"pattern": wire.pack(b"*")},
    "verify": {"level": "quick", "generation": "latest", "paths": PATHS},
}
OPTIONAL = {
    *(("begin", "empty"), ("seal", "not_in_backup"), ("list", "signatures"), ("manifest", "generation")),
    *(("verify", "level"), ("verify", "generation"), ("verify", "paths")),
}
FIELDS = [(verb, name) for verb, fields in REQUESTS.items() for name in fields]
# Nothing of this is what a field of the kind can be.
TEXT = [None, 1, 0.5, True, ["x"], {}, "\ud800"]
TEXTS = [None, 1, "x", {}, [1], [["x"]], [None], ["\ud800"]]
WRONG: dict[str, list[Any]] = {
    "time": [None, "1", True, [1], {}, float("nan"), float("inf"), -float("inf"), 10**400],
    "empty": [None, 0, 1, "true", []],
    "signatures": [None, 0, 1, "true", []],
    "entries": [None, "1", 1.5, True, -1, [1], float("inf")],
    "sources": TEXTS,
    "not_in_backup": TEXTS,
    "pattern": [*TEXT, "x", "=", "ä"],
    "paths": [
        *TEXTS,
        [],
        [1],
        ["x"],
        PATHS * wire.MOST_PATHS,
        [wire.pack(b"../x")],
        [wire.pack(b"/x")],
        [wire.pack(b"a\0")],
    ],
}
CASES = [(verb, name, value) for verb, name in FIELDS for value in WRONG.get(name, TEXT)]


def ask(store: Path, verb: str, request: dict[str, Any]) -> None:
    """Have the gate carry out ``verb``."""
    config = ServerConfig(store, store.parent / "log", sandbox="off", clients={"laptop": ClientRules()})
    said = json.dumps({"protocol": wire.PROTOCOL} | request).encode() + b"\n"
    Gate(config, "laptop", io.BytesIO(said), io.BytesIO(), logging.getLogger("test")).serve(verb)


def refusal(tmp_path: Path, verb: str, request: dict[str, Any]) -> str:
    """What is said instead of doing it; nothing is there afterwards that was not there before."""
    with pytest.raises(UsageError) as refused:
        ask(tmp_path / "store", verb, request)
    assert refused.value.exit_code is ExitCode.USAGE
    said = str(refused.value)
    assert said.isprintable() and len(said) < 200
    assert not (tmp_path / "store").exists()
    return said


@pytest.mark.parametrize("verb, name", [field for field in FIELDS if field not in OPTIONAL])
def test_what_is_left_out_is_named(tmp_path: Path, verb: str, name: str) -> None:
    request = {other: value for other, value in REQUESTS[verb].items() if other != name}
    assert refusal(tmp_path, verb, request) == f"The request for `{verb}` lacks {name!r}."


@pytest.mark.parametrize("verb, name, value", CASES, ids=lambda value: ascii(value)[:30])
def test_what_is_of_another_kind_is_named(tmp_path: Path, verb: str, name: str, value: object) -> None:
    said = refusal(tmp_path, verb, REQUESTS[verb] | {name: value})
    assert f"for {name!r}, which must be " in said or "is not one of a tree" in said


@pytest.mark.parametrize("verb, name", sorted(OPTIONAL))
def test_what_may_be_left_out_is_not_missed(tmp_path: Path, verb: str, name: str) -> None:
    request = {other: value for other, value in REQUESTS[verb].items() if other != name}
    said = ""
    try:
        ask(tmp_path / "store", verb, request)
    except SedaiError as error:  # there is no generation here, and nothing was sent
        said = str(error)
    assert "The request" not in said


def test_paths_come_as_they_are() -> None:
    paths = [b"", b"s/a", b"s/\xff\n"]
    assert Asked("find", {"paths": [wire.pack(path) for path in paths]}).paths("paths") == paths
