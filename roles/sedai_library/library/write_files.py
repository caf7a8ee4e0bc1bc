#!/usr/bin/python3
"""Ansible module: write a set of text files into one directory, and delete what the set no longer holds."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import py_compile
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: write_files
short_description: Write a set of text files into one directory, in one task
description:
  - Writes every file of O(files) below O(directory), atomically, and only those that differ.
  - A file directly in O(directory) is a program (mode 0755), one in a directory below it is a module (mode 0644).
  - Compiles the modules for the Python that runs this module, as accounts that may not write there can't do it themselves.
  - Remembers what O(set) deployed, in V(.<set>.files) beside the files, and deletes what the set no longer holds,
    unless another set in the same directory still holds it. Files of nobody's set are never touched.
  - A set that holds nothing leaves nothing behind.
  - The files belong to the account that runs the module, so run it with C(become_user).
options:
  directory: {type: path, required: true, description: [Absolute path; made when it is missing.]}
  set: {type: str, required: true, description: [Name of this set of files.]}
  files: {type: dict, required: true, description: ["Relative path -> text."]}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Write two files
  write_files:
    directory: /usr/local/lib/example
    set: server
    files: {run.py: "#!/usr/bin/python3\n", package/__init__.py: ""}
"""

RETURN = r"""
written: {type: list, returned: always, description: Relative paths that were written.}
deleted: {type: list, returned: always, description: Relative paths that were deleted.}
"""

PROGRAM_MODE = 0o755
MODULE_MODE = 0o644
DIRECTORY_MODE = 0o755
RECORD_MODE = 0o644


class RefusedError(Exception):
    """The request or the state of the host doesn't allow the work; the text says what to do."""


class Module(AnsibleModule):  # type: ignore[misc]  # ansible has no types
    """AnsibleModule that doesn't copy the text of every file into the host's journal at each run."""

    def log(self, msg: str, log_args: Mapping[str, Any] | None = None) -> None:
        arguments = {key: value for key, value in (log_args or {}).items() if key != "files"}
        super().log(f"write_files {arguments}", log_args=arguments)


@dataclass
class Changes:
    """What one run did, or would do in check mode."""

    written: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.written or self.deleted or self.modes or self.directories)


def is_inside(relative: str) -> bool:
    """Whether a relative path is plain: no empty, `.` or `..` part, not absolute, one line."""
    parts = relative.split("/")
    return "\n" not in relative and "\0" not in relative and all(part not in ("", ".", "..") for part in parts)


def wanted_mode(relative: str) -> int:
    """Programs stand directly in the directory, modules in packages below it."""
    return MODULE_MODE if "/" in relative else PROGRAM_MODE


def is_module(relative: str, files: Mapping[str, str]) -> bool:
    """Whether a path is one of Python's modules: others have names that end so, too."""
    return relative.endswith(".py") and str(PurePosixPath(relative).parent / "__init__.py") in files


def record_path(directory: Path, name: str) -> Path:
    return directory / f".{name}.files"


def read_record(path: Path) -> set[str]:
    """Return the relative paths that a set deployed; unsafe lines (an edited record) are left out."""
    try:
        return {line for line in path.read_text(encoding="utf-8").splitlines() if is_inside(line)}
    except FileNotFoundError:
        return set()


def held_by_others(directory: Path, name: str) -> set[str]:
    """Relative paths that the other sets in this directory still hold."""
    own = record_path(directory, name)
    records = [path for path in directory.glob(".*.files") if path != own]
    return set().union(*map(read_record, records))


def current_text(path: Path) -> str | None:
    """Text of a regular file of ours, or None when the path has to be written anew."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(status.st_mode):
        raise RefusedError(f"{path} is a directory where a file has to be; move it away and run again")
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        return None
    return path.read_bytes().decode("utf-8", "replace")


def replace(path: Path, text: str, mode: int) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".write_files.")
    try:
        with open(descriptor, "wb") as stream:
            stream.write(text.encode("utf-8"))
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def parents(relative: str) -> Iterator[str]:
    """`a/b/c.py` -> `a/b`, `a`."""
    for parent in PurePosixPath(relative).parents:
        if parent.name:
            yield str(parent)


def make_directories(directory: Path, changes: Changes, *, dry: bool) -> None:
    """Make a directory and its missing parents, all with one mode whatever the umask."""
    missing = [path for path in (directory, *directory.parents) if not path.is_dir()]
    for path in reversed(missing):
        changes.directories.append(str(path))
        if not dry:
            path.mkdir()
            path.chmod(DIRECTORY_MODE)


def write(directory: Path, relative: str, text: str, mode: int, changes: Changes, *, dry: bool) -> None:
    """Bring one file to its text and mode."""
    path = directory / relative
    before = current_text(path)
    if before == text:
        if stat.S_IMODE(path.stat().st_mode) != mode:
            changes.modes.append(relative)
            if not dry:
                path.chmod(mode)
        return
    changes.written.append(relative)
    changes.diff.append({"before_header": str(path), "after_header": str(path), "before": before or "", "after": text})
    make_directories(path.parent, changes, dry=dry)
    if not dry:
        replace(path, text, mode)


def compile_module(path: Path) -> None:
    """Compile a module that is new, or that was compiled for another Python: not a change that anybody needs to hear of.

    Python itself does it at the first import, but only for an account that may write there; for any other one each start
    of a program would compile everything anew.
    """
    compiled = Path(importlib.util.cache_from_source(str(path)))
    if not compiled.exists() or compiled.stat().st_mtime < path.stat().st_mtime:
        py_compile.compile(str(path), quiet=2)


def delete(directory: Path, relative: str, changes: Changes, *, dry: bool) -> None:
    """Delete one file, its compiled forms, and the directories that this leaves empty."""
    path = directory / relative
    before = current_text(path) if path.exists() or path.is_symlink() else None
    compiled = list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
    if before is None and not path.is_symlink() and not compiled:
        return
    changes.deleted.append(relative)
    changes.diff.append({"before_header": str(path), "after_header": str(path), "before": before or "", "after": ""})
    if dry:
        return
    for leftover in (path, *compiled):
        leftover.unlink(missing_ok=True)
    for parent in parents(relative):
        for emptied in (directory / parent / "__pycache__", directory / parent):
            with contextlib.suppress(OSError):  # missing, or still in use by others
                emptied.rmdir()


def deploy(directory: Path, name: str, files: Mapping[str, str], *, dry: bool) -> Changes:
    """Write the set, delete what it no longer holds, and remember what it holds.

    Raises:
        RefusedError: a path leaves the directory, or a directory stands where a file has to be.
        OSError: the account may not write there.
    """
    if not directory.is_absolute():
        raise RefusedError(f"directory must be an absolute path, not {str(directory)!r}")
    if not is_inside(name) or "/" in name:
        raise RefusedError(f"set must be a plain name, not {name!r}")
    unsafe = sorted(relative for relative in files if not is_inside(relative))
    if unsafe:
        raise RefusedError(f"files must be plain relative paths, not {unsafe}")

    changes = Changes()
    if files:
        make_directories(directory, changes, dry=dry)
    record = record_path(directory, name)
    retired = read_record(record) - set(files) - held_by_others(directory, name)
    for relative, text in sorted(files.items()):
        write(directory, relative, text, wanted_mode(relative), changes, dry=dry)
        if is_module(relative, files) and not dry:
            compile_module(directory / relative)
    for relative in sorted(retired):
        delete(directory, relative, changes, dry=dry)
    # Last, so that a run which breaks still knows what it has to delete.
    if files:
        write(directory, record.name, "".join(f"{path}\n" for path in sorted(files)), RECORD_MODE, changes, dry=dry)
    else:
        delete(directory, record.name, changes, dry=dry)
    return changes


def main() -> None:
    module = Module(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "set": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    files = module.params["files"]
    module.params["files"] = sorted(files)  # the result repeats the arguments: names are enough
    try:
        changes = deploy(Path(module.params["directory"]), module.params["set"], files, dry=module.check_mode)
    except (RefusedError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(changes),
        written=changes.written,
        deleted=changes.deleted,
        modes=changes.modes,
        directories=changes.directories,
        diff=changes.diff,
    )


if __name__ == "__main__":
    main()
