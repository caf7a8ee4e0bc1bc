"""What belongs to a PostgreSQL database itself: who may connect, its settings, its comment. No dump of its content has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

# One JSON object for the database of the session.
QUERY = """
SELECT json_build_object(
  'acl', CASE WHEN d.datacl IS NOT NULL THEN (SELECT coalesce(json_agg(json_build_object(
      'to', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END, 'right', a.privilege_type,
      'grantable', a.is_grantable)), '[]') FROM aclexplode(d.datacl) a) END,
  'settings', (SELECT coalesce(json_agg(json_build_object(
      'role', CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END, 'values', s.setconfig)), '[]')
      FROM pg_db_role_setting s WHERE s.setdatabase = d.oid),
  'comment', shobj_description(d.oid, 'pg_database'),
  'connections', d.datconnlimit)
FROM pg_database d WHERE d.datname = current_database()
"""

# Lists whose elements are quoted one by one already (variable_is_guc_list_quote in PostgreSQL's dumputils.c).
_LISTS = frozenset({"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
                    "temp_tablespaces", "unix_socket_directories"})  # fmt: skip

Quote = Callable[[str], str]


def statements(
    properties: dict[str, Any], database: str, owner: str, *, roles: bool, identifier: Quote, literal: Quote
) -> Iterator[str]:
    """SQL that gives ``database`` the ``properties`` that :data:`QUERY` told; without ``roles`` what names none.

    ``owner`` loses what the old owner had been denied. ``identifier`` and ``literal`` quote for SQL.
    """
    name = identifier(database)
    if properties.get("comment") is not None:
        yield f"COMMENT ON DATABASE {name} IS {literal(properties['comment'])}"
    if properties.get("connections", -1) != -1:
        yield f"ALTER DATABASE {name} CONNECTION LIMIT {int(properties['connections'])}"
    for setting in properties.get("settings") or ():
        if setting["role"] is not None and not roles:
            continue
        subject = f"ROLE {identifier(setting['role'])} IN DATABASE {name}" if setting["role"] else f"DATABASE {name}"
        for pair in setting["values"]:
            key, _, value = pair.partition("=")
            yield f"ALTER {subject} SET {identifier(key)} = {_value(key, value, literal)}"
    if properties.get("acl") is None or not roles:
        return
    yield f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"
    if owner:
        yield f"REVOKE ALL ON DATABASE {name} FROM {identifier(owner)}"
    for grant in properties["acl"]:
        to = "PUBLIC" if grant["to"] is None else identifier(grant["to"])
        option = " WITH GRANT OPTION" if grant["grantable"] else ""
        yield f"GRANT {grant['right']} ON DATABASE {name} TO {to}{option}"


def _value(key: str, value: str, literal: Quote) -> str:
    if key.lower() not in _LISTS:
        return literal(value)
    return value or "''"
