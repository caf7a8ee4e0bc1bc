"""The gate's rsync: three exact forms, everything else refused, nothing of the client's passed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedai.core.errors import UsageError
from sedai.server import transfer

PUSH = (
    "rsync --server -lHogDtpAXIRSe.LsfxCIvu --log-format=%i --checksum-choice=xxh128 --partial-dir .sedai-partial "
    "--numeric-ids --copy-dest /base --fake-super . /delta/"
)
PULL = (
    "rsync --server --sender -lHogDtpAXIRSe.LsfxCIvu --checksum-choice=xxh128 --numeric-ids --files-from=- --from0 "
    "--no-implied-dirs --fake-super . /20260101T031500Z-000001/"
)
RECURSIVE_PULL = PULL.replace("AXIRSe.Ls", "AXrIRSe.iLs")


def test_our_own_commands_are_understood() -> None:
    assert transfer.parse(PUSH) == transfer.Transfer("LsfxCIvu")
    assert transfer.parse(PUSH.replace("--checksum", "--bwlimit=500 --checksum")) == transfer.Transfer("LsfxCIvu")
    assert transfer.parse(PUSH.replace("IRSe", "IRe")) == transfer.Transfer("LsfxCIvu", sparse=False)
    assert transfer.parse(PULL) == transfer.Transfer("LsfxCIvu", "20260101T031500Z-000001")
    assert transfer.parse(RECURSIVE_PULL) == transfer.Transfer("iLsfxCIvu", "20260101T031500Z-000001", recursive=True)


def test_a_push_may_begin_further_down() -> None:
    for top in ("home", "var/lib/my_data-2.x", ".hidden/..a/b"):
        asked = transfer.parse(PUSH.replace("/delta/", f"/delta/{top}/"))
        assert asked == transfer.Transfer("LsfxCIvu", top=top.encode())
    for top in (
        "..",
        ".",
        "a/../b",
        "a//b",
        "/a",
        "a/.",
        "-a",
        "a/-b",
        "a b",
        "a\\ b",
        "ä",
        "a*",
        "$HOME",
        "a\n",
        "\\",
    ):
        with pytest.raises(UsageError):
            transfer.parse(PUSH.replace("/delta/", f"/delta/{top}/"))
    for end in ("/delta/home", "/deltahome/", "/base/home/", "delta/home/"):
        with pytest.raises(UsageError):
            transfer.parse(PUSH.replace("/delta/", end))


def test_only_a_pull_may_be_recursive() -> None:
    with pytest.raises(UsageError):
        transfer.parse(PUSH.replace("AXIRSe", "AXrIRSe"))
    with pytest.raises(UsageError):
        transfer.parse(RECURSIVE_PULL.replace("AXrIRSe", "AXrrIRSe"))


@pytest.mark.parametrize(("form", "recursive"), [(PULL, False), (RECURSIVE_PULL, True)])
def test_the_sender_is_built_here(form: str, recursive: bool) -> None:
    command = transfer.send_command(transfer.parse(form), Path("/tree"))
    assert any(word.startswith("-l") and "r" in word.partition("e.")[0] for word in command) is recursive
    assert command[-1] == "/tree/" and "20260101T031500Z-000001" not in " ".join(command)


@pytest.mark.parametrize("form", [PUSH, PULL, RECURSIVE_PULL])
@pytest.mark.parametrize(
    "option",
    [
        *("--delete", "--inplace", "--append", "--append-verify", "--write-devices", "--remove-source-files", "-K"),
        *("--backup-dir=/x", "--temp-dir=/x", "--log-file=/x", "--link-dest=/x", "--compare-dest=/x", "--daemon"),
        *("--munge-links", "--no-fake-super", "--super", "--copy-dest=/x", "--files-from=/etc/shadow", "--config=/x"),
        *("-s", "--secluded-args", "--bwlimit=x", "--bwlimit=1;id", "/etc/", "--numeric-ids"),
    ],
)
def test_a_further_option_is_refused(form: str, option: str) -> None:
    words = form.split()
    for place in (2, len(words) - 2, len(words)):
        with pytest.raises(UsageError):
            transfer.parse(" ".join([*words[:place], option, *words[place:]]))


@pytest.mark.parametrize("form", [PUSH, PULL, RECURSIVE_PULL])
def test_a_missing_word_is_refused(form: str) -> None:
    words = form.split()
    for place in range(len(words)):
        with pytest.raises(UsageError):
            transfer.parse(" ".join(words[:place] + words[place + 1 :]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/delta/", "/delta/../"),
        ("/delta/", "/"),
        ("--copy-dest /base", "--copy-dest /"),
        ("lHogDtpAXIRSe", "lHogDtpAXIRSne"),
        ("lHogDtpAXIRSe", "lHogDtpAXIRSSe"),
        ("lHogDtpAXIRSe", "lHogDtpAXISe"),
        ("lHogDtpAXIRSe", "lHogDtpAXIe"),
        ("lHogDtpAXIRSe", "lHogDtpAXIRKe"),
        (".sedai-partial", "/tmp"),
        ("e.LsfxCIvu", "e.LsfxCIvu;id"),
        ("e.LsfxCIvu", "e31.14LsfxCIvu"),
        ("/delta/", "'/delta/"),
        ("rsync --server", "rsync  --daemon"),
        ("rsync --server", "sh -c rsync --server"),
    ],
)
def test_an_altered_push_is_refused(old: str, new: str) -> None:
    assert old in PUSH
    with pytest.raises(UsageError):
        transfer.parse(PUSH.replace(old, new))


@given(st.text(max_size=200))
def test_any_text_is_refused_or_one_of_ours(text: str) -> None:
    with pytest.raises(UsageError):
        transfer.parse(f"rsync {text}")


@pytest.mark.parametrize("tree", ["/", "//", "", "20260101T031500Z-000001"])
def test_a_pull_of_no_generation_is_no_push(tree: str) -> None:
    with pytest.raises(UsageError):
        transfer.parse(PULL.replace("/20260101T031500Z-000001/", tree))


def test_the_receiver_is_built_here() -> None:
    command = transfer.receive_command(transfer.parse(PUSH), Path("/base"), Path("/delta"))
    assert " ".join(command) == PUSH.replace("--partial-dir .sedai-partial", "--partial-dir .sedai-partial")


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("base", [None, Path("/base")])
def test_it_looks_for_holes_and_at_a_base_where_there_are_any(sparse: bool, base: Path | None) -> None:
    asked = transfer.parse(PUSH if sparse else PUSH.replace("IRSe", "IRe"))
    command = transfer.receive_command(asked, base, Path("/delta"))
    expected = PUSH if base else PUSH.replace("--copy-dest /base ", "")
    assert " ".join(command) == (expected if sparse else expected.replace("IRSe", "IRe"))


def test_a_push_names_the_base_and_a_pull_looks_for_holes() -> None:
    for form in (
        PUSH.replace("--copy-dest /base ", ""),
        PULL.replace("IRSe", "IRe"),
        RECURSIVE_PULL.replace("IRSe", "IRe"),
    ):
        with pytest.raises(UsageError):
            transfer.parse(form)
    for form in (PULL, RECURSIVE_PULL):
        assert "S" in transfer.send_command(transfer.parse(form), Path("/tree"))[3].partition("e.")[0]


def test_the_sandbox_shows_only_what_is_named() -> None:
    command = transfer.sandboxed(["rsync"], {Path("/srv/g/tree"): "/base"}, {Path("/srv/i/delta"): "/delta"})
    places = [command[number + 1] for number, word in enumerate(command) if word in ("--bind", "--ro-bind")]
    assert places == ["/usr", "/srv/g/tree", "/srv/i/delta"]
    assert "--unshare-all" in command
