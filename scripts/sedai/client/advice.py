"""What to write into the inventory about databases that were open while they were copied, in English and Japanese."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from sedai.client import live
from sedai.client.config import Database
from sedai.client.describe import LIVE
from sedai.client.scan import Problem

# The kinds that can be dumped, as the settings call them.
_KINDS = {"SQLite": "sqlite", "PostgreSQL": "postgresql", "MariaDB/MySQL": "mariadb"}
# So many databases are written out; a person who has more sees how it is done.
_MOST_SHOWN = 20
# With so many in one directory, that is named instead.
_MANY = 3
_FILE = "inventory/mine/group_vars/backup_clients/own.yml"

_WORDS = {
    "en": {
        "dump": f"Where the playbooks are, write into {_FILE} (lists that are there already get the new lines only), "
        "to have the databases dumped before each backup:",
        "or": "or, where such copies are good enough, which is then no finding any more:",
        "only": f"Where the playbooks are, write into {_FILE} (lists that are there already get the new lines only), "
        "where such copies are good enough, which is then no finding any more:",
        "more": "  # {count} more can be added in the same way",
        "run": "Then run there:",
    },
    "ja": {
        "dump": f"playbook のあるマシンで {_FILE} に次のように書くと、バックアップの前にデータベースがダンプされます"
        "(同じ名前の一覧がすでにあれば、新しい行だけを書き足します):",
        "or": "または、コピーのままでよければ次のように書きます。以後は問題として扱われません:",
        "only": f"コピーのままでよければ、playbook のあるマシンで {_FILE} に次のように書きます。以後は問題として扱われません"
        "(同じ名前の一覧がすでにあれば、新しい行だけを書き足します):",
        "more": "  # ほかの {count} 件も同じ方法で追加できます",
        "run": "続いて、同じマシンで次を実行します:",
    },
}


def own_settings(problems: Iterable[Problem], configured: Sequence[Database]) -> dict[str, str]:
    """By language, the lines for the inventory that deal with the open databases of ``problems``; nothing where there is none."""
    # What is no UTF-8 can't stand in the settings; what Ansible takes for an expression must not: anybody may name a file.
    found = [problem for problem in problems if problem.code == LIVE and _is_text(problem.path)]
    if not found:
        return {}
    taken = {database.name for database in configured}
    entries = [_entry(problem, taken) for problem in found if problem.detail in _KINDS]
    places = [f"  - {_quoted(path)}" for path in _places(found)]
    return {language: "\n".join(_lines(entries, places, words)) for language, words in _WORDS.items()}


def _lines(entries: Sequence[str], places: Sequence[str], words: dict[str, str]) -> Iterator[str]:
    yield words["dump" if entries else "only"]
    if entries:
        yield from ("backup_client_databases:", *entries[:_MOST_SHOWN])
        if len(entries) > _MOST_SHOWN:
            yield words["more"].format(count=len(entries) - _MOST_SHOWN)
        yield words["or"]
    yield from ("backup_client_accept_live:", *places, words["run"], "ansible-playbook site.yml")


def _entry(problem: Problem, taken: set[str]) -> str:
    """One entry of the list of databases, by a name that is not ``taken``, and is from now on."""
    kind = _KINDS[problem.detail]
    stem = re.sub(r"[^a-z0-9_-]+", "-", os.path.splitext(os.path.basename(problem.path.decode()))[0].lower())
    name = stem.strip("-_")[:50] if kind == "sqlite" else "main"
    free = next(each for each in _numbered(name or "database") if each not in taken)
    taken.add(free)
    where = f", path: {_quoted(problem.path)}" if kind == "sqlite" else ""
    return f"  - {{name: {json.dumps(free)}, kind: {kind}{where}}}"


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


def _places(problems: Iterable[Problem]) -> list[bytes]:
    """The fewest that hold all that is in ``problems``, without saying more than is meant."""
    by_directory: dict[bytes, list[bytes]] = {}
    for problem in problems:
        # A server has a directory of its own; of somebody's home not all is meant.
        above = os.path.dirname(problem.path)
        alone = problem.detail != live.SQLITE or above.count(b"/") < 2
        by_directory.setdefault(problem.path if alone else above, []).append(problem.path)
    wide = [each for place, held in by_directory.items() for each in ([place] if len(held) >= _MANY else held)]
    return [path for path in wide if not any(path.startswith(other + b"/") for other in wide)]


def _is_text(path: bytes) -> bool:
    return path.decode("utf-8", "replace").encode() == path and not re.search(rb"\{[{%#]", path)


def _quoted(path: bytes) -> str:
    """``path`` of the tree as YAML has it; JSON is YAML."""
    return json.dumps("/" + path.decode(), ensure_ascii=False)
