"""The settings of databases, of the drill and of what is staged: every refusal, in words, and what is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from sedai.client.config import ClientConfig, load
from sedai.core.errors import ConfigError, ExitCode

BASE = """
client = "laptop"
state_directory = "/var/lib/sedai"
log_file = "/var/log/sedai.log"
{top}
[server]
host = "vps.example.com"
identity_file = "/key"
known_hosts_file = "/known"
[[sources]]
path = "/home"
{tables}
"""


def read(tmp_path: Path, tables: str = "", top: str = 'staging_directory = "/var/lib/staging"') -> ClientConfig:
    path = tmp_path / "client.toml"
    path.write_text(BASE.format(top=top, tables=tables))
    return load(path)


def database(**settings: object) -> str:
    shown = {"name": '"main"', "kind": '"postgresql"'} | settings
    return "[[databases]]\n" + "".join(f"{key} = {value}\n" for key, value in shown.items() if value is not None)


def test_a_full_description_is_accepted(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        database(databases='["shop", "@odd"]', host='"/run/pg"', port=5433, user='"app"', run_as='"postgres"',
                 credentials_file='"~/.pgpass"', globals="false", drill="false")
        + database(name='"app"', kind='"sqlite"', path='"/srv/app.db"')
        + "[drill]\nfiles = 1\nbytes = 1\ndirectory = '/srv/tmp'\n[backup]\naccept_live = ['/srv/redis']\n",
    )  # fmt: skip
    main, app = config.databases
    assert (main.databases, main.port, main.globals, main.drill) == (("shop", "@odd"), 5433, False, False)
    assert main.credentials_file == Path("~/.pgpass").expanduser() and app.path == Path("/srv/app.db")
    assert config.backup.accept_live == (Path("/srv/redis"),) and config.drill.directory == Path("/srv/tmp")


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (database(name='"Main"'), "must be lower-case letters"),
        (database(name='"a/b"'), "must be lower-case letters"),
        (database(name='".."'), "must be lower-case letters"),
        (database(name='"main\\n"'), "must be lower-case letters"),
        (database(name=f'"{"x" * 64}"'), "must be lower-case letters"),
        (database(name='""'), "must be lower-case letters"),
        (database(name=None), "`databases[0].name` is missing"),
        (database(kind='"oracle"'), "must be one of postgresql, mariadb, mysql, sqlite"),
        (database(kind='"sqlite"'), "path names the file of an sqlite database"),
        (database(path='"/x"'), "path names the file of an sqlite database"),
        (database(kind='"sqlite"', path='"x.db"'), "must be absolute"),
        (database(kind='"sqlite"', path='"/x"', host='"h"'), "has only a path"),
        (database(kind='"sqlite"', path='"/x"', port=1), "has only a path"),
        (database(kind='"sqlite"', path='"/x"', user='"u"'), "has only a path"),
        (database(kind='"sqlite"', path='"/x"', databases='["a"]'), "has only a path"),
        (database(databases='["a", "b", "a"]'), "names each one once"),
        (database(databases='[""]'), "none by an empty name"),
        (database(port=65536), "at most 65535"),
        (database(port=-1), "at most 65535"),
        (database(port='"5432"'), "a whole number"),
        (database(credentials_file='"pass"'), "credentials_file pass must be absolute"),
        (database(password='"x"'), "unknown key `databases[0].password`"),
        (database() + database(), "has the name main twice"),
        ("[drill]\nfiles = 0\n", "must be at least 1"),
        ("[drill]\nbytes = 0\n", "must be at least 1"),
        ("[drill]\ndirectory = 'tmp'\n", "an absolute path"),
        ("[backup]\naccept_live = ['var/lib/redis']\n", "must be absolute"),
    ],
)
def test_what_can_not_be_meant_is_refused(tables: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, tables)
    assert words in str(caught.value) and caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ("", "staging_directory is missing"),
        ('staging_directory = "staging"', "must be an absolute path"),
        ('staging_directory = "/"', "must be an absolute path below /"),
        ('staging_directory = "/a/../b"', "without `..`"),
        ('staging_directory = "/home"', "can't hold a source"),
        ('staging_directory = "/var"', "the state_directory can't lie in"),
    ],
)
def test_the_staging_directory_has_a_place_of_its_own(top: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, database(), top)
    assert words in str(caught.value)


def test_without_databases_nothing_need_be_staged(tmp_path: Path) -> None:
    assert read(tmp_path, top="").staged == b"" and len(read(tmp_path, top="").scanned) == 1


def test_the_staging_directory_is_a_source_unless_one_holds_it(tmp_path: Path) -> None:
    beside = read(tmp_path, "[backup]\none_filesystem = true\n")
    assert [source.path for source in beside.scanned] == [Path("/home"), Path("/var/lib/staging")]
    assert beside.crosses_filesystems(beside.scanned[1]) and not beside.crosses_filesystems(beside.scanned[0])
    assert beside.staged == b"var/lib/staging"
    inside = read(tmp_path, top='staging_directory = "/home/staging"')
    assert [source.path for source in inside.scanned] == [Path("/home")]
