"""What make configure writes, says and suggests, without a lab; molecule/configure has the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROLES, Evaluate

ANSWERS = {
    "language": "ja",
    "vps_host": "vps",
    "vps_port": "2222",
    "vps_user": "user",
    "vps_sudo_password": "",
    "smtp_host": "mail.example.com",
    "smtp_port": "465",
    "smtp_address": "user@example.com",
    "smtp_password": "s3cret",
    "recipients": "user@example.com, other@example.com",
    "sources": "/etc, /home,/etc",
    "name": "laptop",
    "time": "22:05",
    "sudo_password": "",
}
TEMPLATES = sorted(path.name for path in (ROLES / "configure/templates").glob("*.yml.j2"))
WORDS = yaml.safe_load((ROLES / "configure/vars/main.yml").read_text(encoding="utf-8"))


def interview(**changes: str) -> dict[str, Any]:
    """What the interview hands on."""
    return {"answers": ANSWERS | changes, "found": {"vps_name": "vps.example.com"}}


@pytest.fixture
def written(render: Evaluate, tmp_path: Path) -> Evaluate:
    """``written(template, **answers)``: the file as YAML, below a directory that is empty or has been written before."""

    def written(template: str, **changes: str) -> Any:
        text = render(
            "configure", template, configure_inventory=str(tmp_path), __configure_interview=interview(**changes)
        )
        assert text.splitlines()[1].startswith("# Written by `make configure`")
        assert "s3cret" not in text
        return yaml.safe_load(text)

    return written


def test_hosts(written: Evaluate) -> None:
    hosts = written("hosts.yml.j2")
    assert hosts["backup_servers"]["hosts"] == {
        "vps": {"ansible_host": "vps", "ansible_port": 2222, "ansible_user": "user"}
    }
    assert hosts["backup_clients"]["hosts"] == {"laptop": {"ansible_connection": "local"}}


def test_the_client_gets_the_true_name_of_the_server_and_its_schedules(written: Evaluate) -> None:
    client = written("backup_clients.yml.j2")
    assert client["backup_client_server_host"] == "vps.example.com"
    assert client["backup_client_sources"] == [{"path": "/etc"}, {"path": "/home"}]
    schedules = {name: value for name, value in client.items() if name.endswith("_schedule")}
    assert schedules == {
        "backup_client_backup_schedule": "5 22 * * *",
        "backup_client_check_schedule": "5 0 * * *",
        "backup_client_full_check_schedule": "35 0 * * 0",
        "backup_client_drill_schedule": "5 1 1 * *",
    }


def test_what_was_added_to_a_source_stays(written: Evaluate, tmp_path: Path) -> None:
    directory = tmp_path / "group_vars/backup_clients"
    directory.mkdir(parents=True)
    earlier = {"backup_client_sources": [{"path": "/home", "exclude": [".cache/"]}, {"path": "/srv"}]}
    (directory / "configured.yml").write_text(yaml.safe_dump(earlier))
    assert written("backup_clients.yml.j2")["backup_client_sources"] == [
        {"path": "/etc"},
        {"path": "/home", "exclude": [".cache/"]},
    ]


@pytest.mark.parametrize(
    "template, answer", [("backup_servers.yml.j2", "vps_sudo_password"), ("backup_clients.yml.j2", "sudo_password")]
)
def test_a_password_for_sudo_only_where_one_is_needed(written: Evaluate, template: str, answer: str) -> None:
    assert "ansible_become_password" not in written(template)
    assert answer in written(template, **{answer: "s3cret"})["ansible_become_password"]


def test_recipients_and_language(written: Evaluate) -> None:
    everybody = written("all.yml.j2")
    assert everybody["alert_mail_recipients"] == ["user@example.com", "other@example.com"]
    assert {value for name, value in everybody.items() if name.endswith("_language")} == {"ja"}
    assert everybody["msmtp_port"] == 465


@pytest.mark.parametrize("question", [one["name"] for one in WORDS["__configure_questions"]])
def test_each_answer_can_come_from_the_environment(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """By the name that the README of the role tells."""
    name = f"SEDAI_{question.upper()}"
    assert f"'{name}'" in (ROLES / "configure/README.md").read_text(encoding="utf-8").replace("''", "'")
    monkeypatch.delenv(name, raising=False)
    assert evaluate("configure", f"__configure_given.{question}") == ""
    monkeypatch.setenv(name, "of the environment")
    assert evaluate("configure", f"__configure_given.{question}") == "of the environment"
    setting = {f"configure_{question}": "of the file"}
    assert evaluate("configure", f"__configure_given.{question}", **setting) == "of the file"


def test_the_files_of_before_are_the_answers_of_today(evaluate: Evaluate, render: Evaluate, tmp_path: Path) -> None:
    names = {"hosts.yml.j2": "hosts.yml"} | {
        f"{group}.yml.j2": f"group_vars/{group}/configured.yml" for group in ("all", "backup_clients", "backup_servers")
    }
    assert set(names) == set(TEMPLATES)
    settings = {"configure_inventory": str(tmp_path), "__configure_interview": interview()}
    for template, name in names.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(render("configure", template, **settings))
    earlier = evaluate("configure", "__configure_earlier", **settings)
    assert earlier["recipients"] == ["user@example.com", "other@example.com"]
    assert earlier["sources"] == ["/etc", "/home"]
    for name in ("language", "vps_host", "vps_user", "smtp_host", "smtp_address", "name", "time"):
        assert earlier[name] == ANSWERS[name]
    assert (int(earlier["vps_port"]), int(earlier["smtp_port"])) == (2222, 465)


def test_every_sentence_is_there_in_both_languages_and_names_the_same() -> None:
    sentences = WORDS["__configure_words"] | {one["name"]: one["ask"] for one in WORDS["__configure_questions"]}
    for key, sentence in sentences.items():
        assert set(sentence) == {"en", "ja"}, key
        assert all(sentence.values()), key
    for key, sentence in WORDS["__configure_words"].items():
        assert set(re.findall(r"{\w+}", sentence["en"])) == set(re.findall(r"{\w+}", sentence["ja"])), key


def test_every_problem_has_its_sentence() -> None:
    source = "".join(
        (ROLES / "configure" / name).read_text(encoding="utf-8")
        for name in ("library/check_answer.py", "files/smtp_probe.py")
    )
    named = set(re.findall(r'Verdict\(\s*"(\w+)"', source)) | set(re.findall(r'"problem": "(\w+)"', source))
    named |= set(re.findall(r'"" if .* else "(\w+)"', source))
    assert {"vps_no_key", "smtp_certificate", "smtp_no_tls", "time"} <= named
    assert named <= set(WORDS["__configure_words"])


@pytest.mark.parametrize(
    "language, words", [("en", "Your ssh gets to the VPS by another machine"), ("ja", "別のマシンを経由")]
)
def test_what_a_jump_host_needs_is_said_where_there_is_one(evaluate: Evaluate, language: str, words: str) -> None:
    tasks = yaml.safe_load((ROLES / "configure/tasks/write.yml").read_text(encoding="utf-8"))
    message = tasks[-1]["ansible.builtin.debug"]["msg"].removeprefix("{{").removesuffix("}}")

    def said(**found: str) -> list[str]:
        mine = interview(language=language)
        settings = {
            "configure_inventory": "inventory/mine",
            "__configure_interview": mine | {"found": mine["found"] | found},
        }
        lines: list[str] = evaluate("configure", message, **settings)
        return lines

    plain = said()
    assert plain == said(vps_way="")
    told = said(vps_way="ProxyJump=you@bastion.example.com")
    assert told[-len(plain) :] == plain, "what is left stays the last line"
    first, option, key = told[: -len(plain)]
    assert words in first and "group_vars/backup_clients/own.yml" in first
    assert yaml.safe_load(option) == {"backup_client_ssh_options": ["ProxyJump=you@bastion.example.com"]}
    assert "sudo ssh-keygen -t ed25519" in key and "sudo ssh-copy-id" in key
