"""The gate, asked for anything with anything: a result or a refusal in words, and the generations stay what they are."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from fuzzing import refusal
from gate_pair import Pair
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sedai.core import wire
from sedai.core.errors import ExitCode, SedaiError, UsageError
from sedai.server import config, transfer
from sedai.server.gate import Gate, refuse

VERBS = ["begin", "seal", "sign", "list", "manifest", "read", "find", "verify", "alert", "status"]
RECEIVE = (
    "rsync --server -lHogDtpAXIRSe.LsfxCIvu --log-format=%i --checksum-choice=xxh128 --partial-dir .sedai-partial "
    "--numeric-ids --copy-dest /base --fake-super . /delta/"
)
SEND = (
    "rsync --server --sender -lHogDtpAXIRSe.LsfxCIvu --checksum-choice=xxh128 --numeric-ids --files-from=- --from0 "
    "--no-implied-dirs --fake-super . /20260101T000000Z-000001/"
)
words = st.one_of(
    st.sampled_from(
        [*RECEIVE.split(), *SEND.split(), "--sender", "--bwlimit=1", "/", "//", "'", '"', "\\", "-e", "--"]
    ),
    st.text(max_size=10),
)


@given(st.one_of(st.text(max_size=200), st.lists(words, max_size=18).map(" ".join)))
@example(RECEIVE)
@example(SEND)
@example(RECEIVE + " '")
@example(RECEIVE + "\\")
@example(RECEIVE.replace("e.LsfxCIvu", "e." + "x" * 25))
@example(SEND.replace("/20260101T000000Z-000001/", "///"))
@example("rsync --server --sender")
@example("rsync --server -lHogDtpAXIRSe.\ud800")
@example("rsync " + "--server " * 10_000)
def test_a_command_of_any_words(command: str) -> None:
    asked: list[transfer.Transfer] = []
    refused = refusal(lambda: asked.append(transfer.parse(command)))
    if refused is not None:
        assert type(refused) is UsageError and refused.exit_code is ExitCode.USAGE
        return
    # What is carried out is ours, but for the capabilities and the name of a generation.
    assert re.fullmatch("[A-Za-z]{0,24}", asked[0].capabilities)


@given(st.lists(words, max_size=18), st.integers(0, 20))
def test_a_known_command_with_a_word_more_is_refused(more: list[str], place: int) -> None:
    for form in (RECEIVE, SEND):
        asked = form.split()
        changed = [*asked[:place], *more, *asked[place:]]
        if refusal(lambda: transfer.parse(" ".join(changed))):  # noqa: B023  it is called at once
            continue
        assert [word for word in changed if word.strip() and not word.startswith("--bwlimit=")] == asked or more == []


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A store with two generations."""
    made = Pair(tmp_path_factory.mktemp("pair"), direct=True)
    for text in ("one", "other"):
        made.write("letter", text)
        made.backup()
    return made


def ask(pair: Pair, command: str, said: bytes) -> dict[str, Any]:
    """The gate's last answer; nothing but a SedaiError may come out of it."""
    answers = io.BytesIO()
    gate = Gate(config.load(pair.root / "server.toml"), "laptop", io.BytesIO(said), answers, logging.getLogger("fuzz"))
    refused = refusal(lambda: gate.serve(command))
    if refused is not None:
        assert refused.exit_code in (ExitCode.USAGE, ExitCode.NOT_DONE)
        refuse(command, refused, answers)
    answer: dict[str, Any] = json.loads(answers.getvalue().splitlines()[-1])
    assert ("result" in answer) != ("error" in answer)
    return answer


names = st.sampled_from(["latest", "all", "", "..", "/", "\0", "20260101T000000Z-000001", "\ud800", "x" * 100])
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), names),
    st.sampled_from([10**400, -1, 2**63, "full", "quick", "MQ==", "Li4=", "=", "-----BEGIN SSH SIGNATURE-----\n"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *("generation", "paths", "pattern", "level", "time", "signature", "signatures", "base", "base_manifest_sha256"),
    *("entries", "started", "sources", "not_in_backup", "signs", "empty", "dry_run", "alerts_stuck_seconds"),
    *("subject", "body", "incident", "resolved"),
]
requests = st.dictionaries(st.sampled_from(KEYS), values, max_size=6).map(lambda table: table | {"protocol": 1})
followed = st.sampled_from([b"", b".\n", b"+\n.\n", b"-x\n.\n", b"~x\n", b"\0"])
SEAL = {
    "base": "",
    "base_manifest_sha256": "",
    "entries": 1,
    "started": "",
    "sources": [],
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.one_of(st.sampled_from(VERBS), st.text(max_size=20)), said=st.binary(max_size=200))
@example(command="begin", said=b"[" * 100_000 + b"\n")
@example(command="begin", said=b'{"protocol":' * 100_000)
@example(command="list", said=b"1" + b"0" * 5000 + b"\n")
@example(command="verify", said=b'{"protocol": 1, "generation": "\\ud800"}\n')
@example(command="\ud800", said=b"")
@example(command="status", said=b"\xff\n")
def test_any_bytes(pair: Pair, command: str, said: bytes) -> None:
    if not command.startswith("rsync "):
        ask(pair, command, said)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(command=st.sampled_from(VERBS), request=requests, rest=followed)
@example(command="begin", request={"protocol": 1, "time": float("nan")}, rest=b"")
@example(command="begin", request={"protocol": 1, "time": float("inf")}, rest=b"")
@example(command="begin", request={"protocol": 1, "time": 10**400}, rest=b"")
@example(command="begin", request={"protocol": 1, "time": 1, "alerts_stuck_seconds": float("nan")}, rest=b"")
@example(command="begin", request={"protocol": 1, "time": 1, "alerts_stuck_seconds": -1e308}, rest=b"")
@example(command="begin", request={"protocol": 1, "time": 1, "empty": "no"}, rest=b"")
@example(command="begin", request={"protocol": 1, "time": 1, "dry_run": None}, rest=b"")
@example(command="find", request={"protocol": 1, "pattern": "Wy0="}, rest=b"")
@example(command="find", request={"protocol": 1, "paths": ["AA=="]}, rest=b"")
@example(command="verify", request={"protocol": 1, "paths": [""], "level": "full"}, rest=b"")
@example(command="verify", request={"protocol": 1, "paths": [1]}, rest=b"")
@example(command="seal", request=SEAL | {"protocol": 1, "entries": float("inf")}, rest=b".\n")
@example(command="seal", request=SEAL | {"protocol": 1, "sources": ["\ud800"]}, rest=b".\n")
@example(command="seal", request=SEAL | {"protocol": 1, "not_in_backup": 3}, rest=b".\n")
@example(command="seal", request=SEAL | {"protocol": 1, "sources": "\0"}, rest=b"")
@example(command="sign", request={"protocol": 1, "generation": "latest", "signature": "\ud800"}, rest=b"")
@example(command="alert", request={"protocol": 1, "subject": "\0", "body": "\ud800"}, rest=b"")
@example(command="manifest", request={"protocol": 1, "generation": "x\0"}, rest=b"")
def test_any_request(pair: Pair, command: str, request: dict[str, Any], rest: bytes) -> None:
    ask(pair, command, json.dumps(request).encode() + b"\n" + rest)


def test_the_generations_are_what_they_were(pair: Pair) -> None:
    """After all of the above; and the client goes on."""
    assert len(pair.store.generations()) == 2
    assert pair.check("full", "all").findings == []
    pair.backup()


def test_the_requests_do_reach_the_verbs(pair: Pair) -> None:
    """A fuzz that is refused at the door finds nothing."""
    assert ask(pair, "begin", b'{"protocol": 1, "time": 1.5}\n')["result"]["base"]
    base = ask(pair, "list", b"")["result"]["generations"][-1]
    request = SEAL | {"protocol": 1, "base": base["generation"], "base_manifest_sha256": base["manifest_sha256"]}
    refused = ask(pair, "seal", json.dumps(request).encode() + b"\n" + wire.CHANGES_END)
    assert "The counts differ" in refused["error"]


def test_a_seal_with_a_value_that_does_not_fit_makes_no_generation(pair: Pair) -> None:
    """Whatever is wrong in the request, the client is told before anything is done."""
    before = pair.store.generations()
    base = ask(pair, "list", b"")["result"]["generations"][-1]
    request = SEAL | {"protocol": 1, "base": base["generation"], "base_manifest_sha256": base["manifest_sha256"]}
    request |= {"entries": base["entries"], "signs": 3}
    refused = ask(pair, "seal", json.dumps(request).encode() + b"\n" + wire.CHANGES_END)
    assert "'signs', which must be true or false" in refused["error"]
    assert pair.store.generations() == before


def test_every_field_that_the_gate_reads_is_tried() -> None:
    source = "".join(path.read_text() for path in Path(transfer.__file__).parent.glob("*.py"))
    read = set(re.findall(r"\basked\.[a-z]+\(\s*\"([a-z_0-9]+)\"", source))
    assert {"generation", "signs", "entries"} <= read <= set(KEYS)


@pytest.mark.parametrize("kind", [UsageError("x", "y"), SedaiError("x")])
def test_a_refusal_is_one_object(kind: SedaiError, tmp_path: Path) -> None:
    answers = io.BytesIO()
    refuse("begin", kind, answers)
    [line] = answers.getvalue().splitlines()
    assert json.loads(line)["error"] == "x"
