"""The last lines of site.yml (playbooks/summary.yml), as they are put together there, in both languages."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.plugins.loader import filter_loader
from conftest import ROLES, Evaluate

SETTINGS: dict[str, Any] = {
    "backup_client_name": "laptop",
    "backup_client_user": "person",
    "backup_client_server_host": "vps.example.com",
    "backup_client_sources": [{"path": "/etc"}, {"path": "/srv/two words"}],
    "backup_client_backup_schedule": "40 22 * * *",
    "backup_client_check_schedule": "40 0 * * *",
    "backup_client_full_check_schedule": "10 1 * * 0",
    "backup_client_drill_schedule": "40 1 1 * *",
    "backup_server_store": "/mnt/big/sedai",
    "alert_mail_recipients": ["user@example.com", "other@example.com"],
}
EXPECTED = {
    "en": [
        "every day at 22:40", "every day at 00:40", "every Sunday at 01:10", "on day 1 of each month at 01:40",
        "/etc, /srv/two words", "Try next", "the generations are in /mnt/big/sedai", "user@example.com, other@example.com",
        "/backup_data.py (the first backup)", "/backup_status.py", "playbooks/test_alert.yml",
    ],
    "ja": [
        "毎日 22:40", "毎日 00:40", "毎週日曜 01:10", "毎月 1 日 01:40", "/etc、/srv/two words", "次に",
        "世代は /mnt/big/sedai に", "user@example.com、other@example.com", "/backup_data.py", "最初のバックアップ",
        "/backup_status.py", "playbooks/test_alert.yml",
    ],
}  # fmt: skip


def lines(evaluate: Evaluate, role: str, variable: str, **settings: Any) -> list[str]:
    """The lines that ``tasks/summary.yml`` of the role offers as ``variable``."""
    tasks = yaml.safe_load((ROLES / role / "tasks/summary.yml").read_text(encoding="utf-8"))
    (expression,) = (task["ansible.builtin.set_fact"][variable] for task in tasks if "ansible.builtin.set_fact" in task)
    found: list[str] = evaluate(role, expression.removeprefix("{{").removesuffix("}}"), **SETTINGS | settings)
    return found


@pytest.fixture(autouse=True)
def _filters() -> None:
    """Those that the role brings along; a run finds them by itself."""
    filter_loader.add_directory(str(ROLES / "backup_client/filter_plugins"))


@pytest.mark.parametrize("language", EXPECTED)
def test_it_says_when_where_to_whom_and_what_next(evaluate: Evaluate, language: str) -> None:
    said = {
        role: lines(evaluate, role, f"{role}_summary", **{f"{role}_language": language, **waiting})
        for role, waiting in (
            (
                "backup_client",
                {"__backup_client_looked_for": {"results": [{"item": "/etc", "stat": {"exists": True}}]}},
            ),
            ("backup_server", {}),
            ("alert_mail", {"__alert_mail_waiting": {"stdout": "No mail waits."}}),
        )
    }
    assert [len(said[role]) for role in said] == [3, 1, 1]
    play = yaml.safe_load((ROLES.parent / "playbooks/summary.yml").read_text(encoding="utf-8"))[1]
    task = play["tasks"][-1]
    servers = [{f"{role}_summary": said[role] for role in ("backup_server", "alert_mail")}, {}]
    told = evaluate(
        "backup_client",
        task["ansible.builtin.debug"]["msg"].removeprefix("{{").removesuffix("}}"),
        backup_client_summary=said["backup_client"],
        __servers=servers,
    )
    assert told == said["backup_client"] + said["backup_server"] + said["alert_mail"]
    for words in EXPECTED[language]:
        assert words in "\n".join(told)


@pytest.mark.parametrize("language, words", [("en", "MAILS WAIT"), ("ja", "待っているメール")])
def test_it_says_that_mails_wait(evaluate: Evaluate, language: str, words: str) -> None:
    def said(stdout: str) -> str:
        settings = {"alert_mail_language": language, "__alert_mail_waiting": {"stdout": stdout}}
        return "\n".join(lines(evaluate, "alert_mail", "alert_mail_summary", **settings))

    assert words in said("alert 1 waits since yesterday")
    assert words not in said("No mail waits.")
    assert words not in said("")


@pytest.mark.parametrize(
    "language, words", [("en", "NOT THERE now: /mnt/usb, /srv/a.db."), ("ja", "存在しません: /mnt/usb, /srv/a.db。")]
)
def test_it_says_what_is_not_there(evaluate: Evaluate, language: str, words: str) -> None:
    """A source, and the file of an SQLite database; a disk may be unplugged, so that it is no reason to refuse."""
    settings = {"backup_client_language": language, "backup_client_sources": [{"path": "/etc"}, {"path": "/mnt/usb"}],
                "backup_client_databases": [{"name": "a", "kind": "sqlite", "path": "/srv/a.db"},
                                            {"name": "main", "kind": "postgresql"}]}  # fmt: skip
    paths = evaluate("backup_client", "__backup_client_paths", **settings)
    assert paths == ["/etc", "/mnt/usb", "/srv/a.db"]
    found = [{"item": path, "stat": {"exists": path == "/etc"}} for path in paths]
    said = lines(
        evaluate, "backup_client", "backup_client_summary", **settings, __backup_client_looked_for={"results": found}
    )
    assert words in "\n".join(said)
