"""The images, made from Debian's archive by mmdebstrap; nothing is pulled.

An image's tag is a digest of its recipe: a changed recipe makes a new image, an unchanged
one is found again, also by another checkout.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from labkit.system import PODMAN, SHARED, STATE, LabError, as_root, exclusively, podman

# What a small VPS has before we come. msmtp, bubblewrap, python3-xxhash and the like are
# missing on purpose: the roles have to install them.
_BASE = "systemd systemd-sysv dbus ca-certificates iproute2 procps"
_HOST = (
    f"{_BASE} python3 python3-apt openssh-server openssh-client sudo cron rsync logrotate acl attr"
    # Real files in /usr/share to back up, as a machine that people use has them.
    " tzdata locales perl vim-runtime iso-codes manpages-dev"
)


@dataclass(frozen=True)
class Recipe:
    """How one image is made.

    name     what `--host NAME=IMAGE` calls it
    suite    the Debian release
    packages installed by mmdebstrap, blank separated
    folder   under images/: its customize.sh is run at the end, with the files beside it
    options  further ones for mmdebstrap
    """

    name: str
    suite: str
    packages: str
    folder: str
    options: tuple[str, ...] = ()

    @property
    def files(self) -> Path:
        return SHARED / "images" / self.folder

    @property
    def reference(self) -> str:
        """The image's full name; the tag is a digest of all that goes into it."""
        digest = hashlib.sha256(repr((self.suite, self.packages, self.options)).encode())
        for path in sorted(self.files.iterdir()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return f"localhost/sedai-lab-{self.name}:{digest.hexdigest()[:12]}"


# The lists of the local repository stay, as on a machine in use.
_KEEP_LISTS = ("--skip=cleanup/apt/lists",)
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("bookworm", "bookworm", _HOST, "host", _KEEP_LISTS),
        Recipe("trixie", "trixie", _HOST, "host", _KEEP_LISTS),
        Recipe("mail", "bookworm", f"{_BASE} postfix dovecot-core", "mail"),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name; LabError names the known ones."""
    if name not in RECIPES:
        raise LabError(f"no image {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def exists(wanted: Recipe) -> bool:
    return podman("image", "exists", wanted.reference, check=False).returncode == 0


def build_missing(names: Sequence[str] = tuple(RECIPES)) -> list[str]:
    """Build what is not there yet, side by side. Returns the names that were built."""
    with ThreadPoolExecutor() as pool:
        built = pool.map(_build_if_missing, [recipe(name) for name in names])
        return [name for name, done in zip(names, built, strict=True) if done]


def _build_if_missing(wanted: Recipe) -> bool:
    if exists(wanted):
        return False
    # Another checkout may be at it; whoever comes second finds the image made.
    with exclusively(f"image-{wanted.name}"):
        if exists(wanted):
            return False
        _build(wanted)
        return True


def _build(wanted: Recipe) -> None:
    log_path = STATE / "images" / f"{wanted.name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    bootstrap = as_root(
        [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={wanted.packages.replace(' ', ',')}",
            f"--customize-hook={wanted.files / 'customize.sh'}",
            *wanted.options,
            wanted.suite,
            "-",
        ]
    )
    with log_path.open("wb") as log:
        try:
            maker = subprocess.Popen(bootstrap, stdout=subprocess.PIPE, stderr=log)
        except FileNotFoundError as error:
            raise LabError("mmdebstrap is not installed; `make setup` installs it") from error
        with maker:
            # Under another name first: a pipe that broke must not leave an image behind
            # that looks whole.
            half = f"{wanted.reference}-half"
            imported = subprocess.run(
                [
                    *(PODMAN, "import", "--quiet"),
                    *("--change", 'CMD ["/sbin/init"]'),
                    *("--change", "STOPSIGNAL SIGRTMIN+3"),
                    *("-", half),
                ],
                stdin=maker.stdout,
                stdout=log,
                stderr=log,
                check=False,
            )
    if maker.returncode == 0 and imported.returncode == 0:
        podman("tag", half, wanted.reference)
    podman("rmi", half, check=False)  # the name only, where another one holds the image
    if maker.returncode != 0 or imported.returncode != 0:
        lines = log_path.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.startswith(("E: ", "Err:", "Error"))] or lines[-5:]
        raise LabError(
            f"the image {wanted.name} (Debian {wanted.suite}) could not be made; "
            f"the whole log is {log_path}\n" + "\n".join(told)
        )
