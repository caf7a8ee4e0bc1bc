"""~/.msmtprc holds exactly what was set; what can't work is refused with its remedy and without the secret."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Evaluate

REQUIRED = {
    "msmtp_host": "mail.example.com",
    "msmtp_from": "user@example.com",
    "msmtp_password": "lab-Passw0rd",
}

AWKWARD_PASSWORDS = [
    'quo"te',
    '"quoted"',
    '"',
    '""',
    "single'quote",
    "back\\slash",
    "ends with backslash\\",
    "#hash",
    "a # b",
    " leading and trailing ",
    "in  the   middle",
    "$HOME $(id) `id` ${x}",
    "100%s %H %C",
    "パスワード",
    "é\u00a0ü\u3000",
    "{{ lookup('env', 'HOME') }} {% raw %} {# x #}",
    "~",
    "\U0001f512",
    "x" * 480,
]


def commands(text: str) -> dict[str, str]:
    """The file as msmtp reads it (src/conf.c, get_next_cmd and trim_string): the last value of each command."""
    found = {}
    for raw in text.splitlines():
        assert len(raw.encode()) < 500, "msmtp reads no longer line"
        line = raw.strip(" \t")
        if not line or line.startswith("#"):
            continue
        command, _, argument = line.replace("\t", " ", 1).partition(" ")
        argument = argument.strip(" \t")
        if len(argument) >= 2 and argument[0] == argument[-1] == '"':
            argument = argument[1:-1]
        found[command] = argument
    return found


def test_the_settings_of_the_seed(render: Evaluate) -> None:
    read = commands(render("msmtp", "msmtprc.j2", **REQUIRED))
    assert read == {
        "defaults": "",
        "auth": "on",
        "tls": "on",
        "tls_starttls": "on",
        "tls_trust_file": "/etc/ssl/certs/ca-certificates.crt",
        "logfile": "/home/person/logs/msmtp.log",
        "timeout": "20",
        "domain": "example.com",
        "allow_from_override": "off",
        "set_from_header": "on",
        "account": "default",
        "host": "mail.example.com",
        "port": "587",
        "from": "user@example.com",
        "user": "user@example.com",
        "password": "lab-Passw0rd",
    }


@pytest.mark.parametrize(("port", "starttls"), [(587, "on"), ("587", "on"), (465, "off"), ("465", "off"), (2525, "on")])
def test_465_is_tls_from_the_first_byte(render: Evaluate, port: int | str, starttls: str) -> None:
    read = commands(render("msmtp", "msmtprc.j2", **REQUIRED | {"msmtp_port": port}))
    assert (read["port"], read["tls_starttls"]) == (str(port), starttls)


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
def test_every_printable_password_is_accepted_and_written_as_it_is(
    render: Evaluate, evaluate: Evaluate, password: str
) -> None:
    settings = REQUIRED | {"msmtp_password": password}
    assert evaluate("msmtp", "__msmtp_problems | flatten", **settings) == []
    assert commands(render("msmtp", "msmtprc.j2", **settings))["password"] == password


def test_a_login_name_of_its_own(render: Evaluate) -> None:
    read = commands(render("msmtp", "msmtprc.j2", **REQUIRED | {"msmtp_username": 'dom\\user "x"'}))
    assert read["user"] == 'dom\\user "x"'


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"msmtp_password": ""}, "msmtp_password is missing or empty"),
        ({"msmtp_password": None}, "msmtp_password is missing or empty"),
        ({"msmtp_password": 31415926}, "msmtp_password is not read as text"),
        ({"msmtp_password": "s3cret\nport 25"}, "control character"),
        ({"msmtp_password": "s3cret\r"}, "control character"),
        ({"msmtp_password": "s3cret\n"}, "control character"),
        ({"msmtp_password": "s3\tcret"}, "control character"),
        ({"msmtp_password": "s3cret\x00"}, "control character"),
        ({"msmtp_password": "s3cret\x7f"}, "control character"),
        ({"msmtp_password": "s3cret\u0085"}, "control character"),
        ({"msmtp_password": "s3cret" + "x" * 475}, "longer than the 480 bytes"),
        ({"msmtp_password": "漢" * 161}, "longer than the 480 bytes"),
        ({"msmtp_host": ""}, "msmtp_host must be"),
        ({"msmtp_host": "mail.example.com\ntls off"}, "msmtp_host must be"),
        ({"msmtp_host": "-x"}, "msmtp_host must be"),
        ({"msmtp_from": "user"}, "msmtp_from must be"),
        ({"msmtp_from": "*@example.com"}, "msmtp_from must be"),
        ({"msmtp_from": "user@example.com\n"}, "msmtp_from must be"),
        ({"msmtp_test_recipient": "-Csome@example.com"}, "msmtp_test_recipient must be"),
        ({"msmtp_username": "a\nb"}, "msmtp_username must be"),
        ({"msmtp_username": ""}, "msmtp_username must be"),
        ({"msmtp_domain": "x y"}, "msmtp_domain must be"),
        ({"msmtp_port": 0}, "msmtp_port must be"),
        ({"msmtp_port": "smtp"}, "msmtp_port must be"),
        ({"msmtp_timeout": 0}, "msmtp_timeout must be"),
    ],
)
def test_what_can_not_work_is_refused_without_the_secret(
    evaluate: Evaluate, wrong: dict[str, Any], complaint: str
) -> None:
    (problem,) = evaluate("msmtp", "__msmtp_problems | flatten", **REQUIRED | wrong)
    assert complaint in problem
    password = wrong.get("msmtp_password")
    if password:
        assert str(password)[:6] not in problem


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_what_is_missing_is_named(evaluate: Evaluate, missing: str) -> None:
    settings = {name: value for name, value in REQUIRED.items() if name != missing}
    (problem,) = evaluate("msmtp", "__msmtp_problems | flatten", **settings)
    assert missing in problem


def test_a_missing_vault_variable_is_named_with_its_command(evaluate: Evaluate) -> None:
    from ansible.template import trust_as_template

    settings = REQUIRED | {"msmtp_password": trust_as_template("{{ vault_msmtp_password }}")}
    (problem,) = evaluate("msmtp", "__msmtp_problems | flatten", **settings)
    assert "ansible-vault edit inventory/mine/group_vars/all/vault.yml" in problem


def test_rotation_names_the_log(render: Evaluate) -> None:
    text = render("msmtp", "logrotate.j2", **REQUIRED)
    assert "/home/person/logs/msmtp.log {" in text
    assert "su person 1000" in text
