"""What belongs to a PostgreSQL database itself, as SQL that gives it to another."""

from __future__ import annotations

from typing import Any

import pytest

from sedai.client.databases.postgresql import _identifier, _literal
from sedai.client.databases.properties import statements

ACL = [
    {"to": None, "right": "TEMPORARY", "grantable": False},
    {"to": 'a"b', "right": "CONNECT", "grantable": True},
]


def sql(properties: dict[str, Any], *, roles: bool = True, owner: str = "app") -> list[str]:
    """The statements for a database called ``d"x``."""
    return list(statements(properties, 'd"x', owner, roles=roles, identifier=_identifier, literal=_literal))


@pytest.mark.parametrize("properties", [{}, {"acl": None, "settings": [], "comment": None, "connections": -1}])
def test_nothing_noted_is_nothing_done(properties: dict[str, Any]) -> None:
    assert sql(properties) == []


def test_who_may_connect_is_exactly_who_might() -> None:
    """What is not granted is taken away first: a new database lets everybody in."""
    assert sql({"acl": ACL}) == [
        'REVOKE ALL ON DATABASE "d""x" FROM PUBLIC',
        'REVOKE ALL ON DATABASE "d""x" FROM "app"',
        'GRANT TEMPORARY ON DATABASE "d""x" TO PUBLIC',
        'GRANT CONNECT ON DATABASE "d""x" TO "a""b" WITH GRANT OPTION',
    ]
    assert sql({"acl": []}, owner="") == ['REVOKE ALL ON DATABASE "d""x" FROM PUBLIC']


def test_settings_are_quoted_but_for_lists_that_are_already() -> None:
    settings = [
        {"role": None, "values": ['search_path="$user", "Odd, \'x"', "work_mem=7MB", "search_path="]},
        {"role": "ro", "values": ["application_name=it's=1"]},
    ]
    everything = sql({"settings": settings})
    assert everything == [
        'ALTER DATABASE "d""x" SET "search_path" = "$user", "Odd, \'x"',
        """ALTER DATABASE "d""x" SET "work_mem" = E'7MB'""",
        'ALTER DATABASE "d""x" SET "search_path" = \'\'',
        """ALTER ROLE "ro" IN DATABASE "d""x" SET "application_name" = E'it\\'s=1'""",
    ]
    assert sql({"settings": settings}, roles=False) == everything[:3]


def test_without_roles_nobody_is_named() -> None:
    assert sql({"acl": ACL, "comment": "c", "connections": 3}, roles=False) == [
        """COMMENT ON DATABASE "d""x" IS E'c'""",
        'ALTER DATABASE "d""x" CONNECTION LIMIT 3',
    ]
