"""The inventories hand on what one role offers to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("inventory", ["example", "demo"])
@pytest.mark.parametrize(
    "offered",
    [
        pytest.param({"alert_mail_command": ["sudo", "-u", "root", "--", "/root/send"]}, id="as alert_mail says"),
        pytest.param({}, id="alert_mail did not run"),
    ],
)
def test_the_gate_calls_the_sender_where_alert_mail_put_it(inventory: str, offered: dict[str, Any]) -> None:
    loader = DataLoader()
    path = PROJECT / "inventory" / inventory / "group_vars/backup_servers.yml"
    settings = loader.load_from_file(str(path), trusted_as_template=True)
    command = Templar(loader=loader, variables=offered).template(settings["backup_server_alert_command"])
    assert command == offered.get("alert_mail_command")
