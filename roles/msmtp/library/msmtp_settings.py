#!/usr/bin/python3
"""Put ~/.msmtprc in use only after it has logged in and delivered a real mail."""

from __future__ import annotations

DOCUMENTATION = r"""
module: msmtp_settings
short_description: Put ~/.msmtprc in use only after it has delivered a test mail
description:
  - Writes C(~/.msmtprc.new), delivers one mail with it, and only then renames it over C(~/.msmtprc).
  - Settings that are the same as those in use are not tested again, and nothing changes.
  - A refusal is no failure of the module (RV(refused)), so that the caller can hide this task and still show the reply.
options:
  user: {description: Account that sends; all files are in its home., type: str, required: true}
  content: {description: The whole file., type: str, required: true}
  password: {description: The password in it; masked should the provider echo it., type: str, required: true}
  log_file: {description: msmtp's log, made with mode 0600 before msmtp makes it 0644., type: path, required: true}
  test_sender: {description: From address of the test mail., type: str, required: true}
  test_recipient: {description: Recipient of the test mail., type: str, required: true}
author: The sedai authors
"""

RETURN = r"""
refused: {description: Whether the new settings did not deliver the test mail., type: bool, returned: always}
status: {description: Exit status of msmtp., type: int, returned: when refused}
reply: {description: What msmtp and the provider said., type: str, returned: when refused}
kept: {description: What is in use now., type: str, returned: when refused}
"""

import contextlib
import os
import pwd
import socket
import stat
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# msmtp's own timeout is per step of the dialogue; this one ends a provider that answers for ever.
TIMEOUT_SECONDS = 180


@contextlib.contextmanager
def acting_as(account: pwd.struct_passwd) -> Iterator[None]:
    """Work with the account's rights: root never follows a link that it left in its home."""
    if os.geteuid() == account.pw_uid:
        yield
        return
    groups, group, user = os.getgroups(), os.getegid(), os.geteuid()
    os.initgroups(account.pw_name, account.pw_gid)
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
        os.setgroups(groups)


def present(path: Path) -> bytes | None:
    """The file's bytes, or None where there is no regular file."""
    try:
        return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None
    except FileNotFoundError:
        return None


def is_private(path: Path) -> bool:
    """Whether the file is there and only its owner may read it."""
    return path.exists() and stat.S_IMODE(path.stat().st_mode) == 0o600


def make_private(path: Path) -> None:
    """Make the file where it is missing, with its directory, and let only the owner read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)


def write_new(path: Path, content: bytes) -> None:
    """Write a private file that did not exist."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)


def test_mail(sender: str, recipient: str) -> bytes:
    """A mail that says why it came."""
    host = socket.gethostname()
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = f"[TEST] New mail settings on {host}"
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"This mail proves that {host} can send with its new settings. They are in use from now on.\n")
    return message.as_bytes()


def deliver(settings: Path, recipient: str, message: bytes, account: pwd.struct_passwd) -> tuple[int, str]:
    """Exit status and words of msmtp."""
    argv = ["msmtp", f"--file={settings}", "--account=default", "--", recipient]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": account.pw_dir}
    try:
        done = subprocess.run(
            argv,
            input=message,
            capture_output=True,
            check=False,
            cwd="/",
            env=environment,
            user=account.pw_uid,
            group=account.pw_gid,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 75, f"no end within {TIMEOUT_SECONDS} s"
    lines = done.stderr.decode(errors="replace").splitlines()
    return done.returncode, " | ".join(line.removeprefix("msmtp: ") for line in lines)


def bring_in_use(account: pwd.struct_passwd, parameters: dict[str, Any], *, dry: bool) -> dict[str, Any]:
    """Compare, prove, replace; the module's result."""
    content = parameters["content"].encode()
    log_file = Path(parameters["log_file"])
    in_use = Path(account.pw_dir) / ".msmtprc"
    candidate = in_use.with_name(".msmtprc.new")

    old = present(in_use)
    differs = old != content
    loose = [path for path in (in_use, log_file) if not is_private(path) and not (path == in_use and differs)]
    if dry or not (differs or loose):
        return {"changed": differs or bool(loose), "refused": False}
    for path in loose:
        make_private(path)
    if not differs:
        return {"changed": True, "refused": False}

    write_new(candidate, content)
    try:
        message = test_mail(parameters["test_sender"], parameters["test_recipient"])
        status, reply = deliver(candidate, parameters["test_recipient"], message, account)
        if status == 0:
            candidate.replace(in_use)
            return {"changed": True, "refused": False}
    finally:
        candidate.unlink(missing_ok=True)
    kept = "There were none before." if old is None else "The old ones are still in use."
    return {"changed": bool(loose), "refused": True, "status": status, "reply": reply, "kept": kept}


def main() -> None:
    """Read the arguments, work as the account, answer."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "content": {"type": "str", "required": True, "no_log": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "log_file": {"type": "path", "required": True},
            "test_sender": {"type": "str", "required": True},
            "test_recipient": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    account = pwd.getpwnam(module.params["user"])
    if os.geteuid() not in (0, account.pw_uid):
        module.fail_json(msg=f"only root or {account.pw_name} can do this: run the play with become: true")
    # The answer comes after: Ansible loads more of itself for it, from a file that only root may read.
    with acting_as(account):
        result = bring_in_use(account, module.params, dry=module.check_mode)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
