"""The peers and what the benchmark itself needs: installed from their packages when it runs, never by `make setup`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "bench"
_MIRROR = "http://deb.debian.org/debian"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class UnavailableError(Exception):
    """Something that can't be had; the text says what and why."""


def installed(package: str) -> str:
    """The version of an installed Debian package; empty where it is not installed."""
    asked = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package]
    words = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    return words[1] if words[:1] == ["installed"] else ""


def install(packages: Iterable[str]) -> None:
    """Install those of ``packages`` that are missing.

    Raises:
        UnavailableError: apt can't install one of them.
    """
    missing = [package for package in packages if not installed(package)]
    if not missing:
        return
    print(f"benchmark: installing {' '.join(missing)}", file=sys.stderr)
    _refresh()
    with _KeptQuiet(missing):
        _apt("install", "--yes", "--no-install-recommends", *missing)


def unpacked(package: str, suite: str = "") -> Path:
    """Where the files of a Debian package lie that is fetched but not installed; of another release where ``suite`` names one.

    Raises:
        UnavailableError: apt can't fetch it.
    """
    place = CACHE / suite / package
    if place.is_dir():
        return place
    work = CACHE / "fetching"
    shutil.rmtree(work, ignore_errors=True)
    (work / "tree").mkdir(parents=True)
    options = _release(suite, work) if suite else []
    _apt(*options, "update")
    _apt(*options, "download", package, directory=work)
    [archive] = work.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, work / "tree"], check=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    (work / "tree").rename(place)
    shutil.rmtree(work)
    return place


def _release(suite: str, work: Path) -> list[str]:
    """Options with which apt knows that release only, and this machine's own lists stay as they are."""
    sources, lists = work / "sources.list", work / "lists"
    sources.write_text(f"deb [signed-by={_KEYRING}] {_MIRROR} {suite} main\n")
    lists.mkdir()
    places = {
        "Etc::SourceList": sources,
        "Etc::SourceParts": "/dev/null",
        "State::Lists": lists,
        "Cache": work / "cache",
    }
    return [word for name, place in places.items() for word in ("-o", f"Dir::{name}={place}")]


def python_packages(name: str, packages: Sequence[str]) -> Path:
    """The ``bin`` directory of a virtual environment of the benchmark's own that holds ``packages`` from PyPI.

    Raises:
        UnavailableError: pip can't install them.
    """
    place = CACHE / name
    if (place / ".done").exists():
        return place / "bin"
    shutil.rmtree(place, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [str(place / "bin/pip"), "install", "--quiet", "--only-binary=:all:", *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"{' '.join(packages)} can't be installed from PyPI: {_last_line(done.stderr)}")
    (place / ".done").touch()
    return place / "bin"


class _KeptQuiet:
    """An OpenSSH server that comes in here for the benchmark does not start, now or at the next boot."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._needed = "openssh-server" in packages and shutil.which("systemctl") is not None

    def _systemctl(self, verb: str) -> None:
        if self._needed:
            subprocess.run(
                ["systemctl", "--quiet", verb, "ssh.service", "ssh.socket"], capture_output=True, check=False
            )

    def __enter__(self) -> None:
        self._systemctl("mask")

    def __exit__(self, *error: object) -> None:
        self._systemctl("unmask")
        self._systemctl("disable")


@cache
def _refresh() -> None:
    _apt("update")


def _apt(*arguments: str, directory: Path | None = None) -> None:
    done = subprocess.run(
        ["apt-get", "--quiet=2", "-o", "DPkg::Lock::Timeout=300", *arguments],
        cwd=directory,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UnavailableError(f"apt-get {' '.join(arguments)} failed: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
