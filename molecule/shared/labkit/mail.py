"""The mail provider of a lab: its certificates, its password file, its mailboxes."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import io
import os
import re
import tarfile
import time
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

from labkit.system import LabError, podman, run

MAIL_DOMAIN_NAME = "mail.example.com"
ACCOUNT = "user@example.com"
FIRST_PASSWORD = "lab-Passw0rd"
_MAILBOXES = "/var/mail/example.com"


def make_certificates(directory: Path, names: Sequence[str]) -> None:
    """A certificate authority (ca.crt) and the provider's certificate from it (mail.crt)."""
    elliptic = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    run(
        [
            *("openssl", "req", "-x509", *elliptic, "-days", "30"),
            *("-subj", "/CN=sedai lab authority"),
            *("-keyout", str(directory / "ca.key"), "-out", str(directory / "ca.crt")),
        ]
    )
    alternatives = ",".join(f"DNS:{name}" for name in names)
    run(
        [
            *("openssl", "req", "-x509", *elliptic, "-days", "30"),
            *("-subj", f"/CN={names[0]}"),
            *("-addext", f"subjectAltName={alternatives}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key")),
            *("-keyout", str(directory / "mail.key"), "-out", str(directory / "mail.crt")),
        ]
    )


def start_provider(container: str, directory: Path) -> None:
    """Give the provider its certificate and the first password, and start it."""
    files = {name: (directory / name).read_bytes() for name in ("mail.crt", "mail.key")}
    _put(container, files | {"passwords": password_file(FIRST_PASSWORD)})
    podman("exec", "--interactive", container, "sh", "-s", stdin=_START.encode())


# Both ports must answer before the lab is called up.
_START = """set -eu
tries=300
until systemctl start postfix@- dovecot 2>/dev/null &&
    [ "$(ss -Hltn 'sport = :587 or sport = :465' | wc -l)" -ge 2 ] &&
    [ -S /var/spool/postfix/private/auth ]; do
    tries=$((tries - 1))
    if [ $tries -eq 0 ]; then
        journalctl --no-pager --lines 20 >&2
        exit 1
    fi
    sleep 0.1
done
"""


def password_file(password: str, account: str = ACCOUNT) -> bytes:
    """Dovecot's passwd-file with one account. Hashed, so that any character may be in it.

    The scheme is dovecot's SSHA512: base64 of SHA-512(password + salt) + salt.
    """
    salt = os.urandom(16)
    digest = hashlib.sha512(password.encode() + salt).digest() + salt
    return f"{account}:{{SSHA512}}{base64.b64encode(digest).decode()}\n".encode()


def set_password(container: str, password: str) -> None:
    """Change the account's password at the provider; the next login needs the new one."""
    _put(container, {"passwords": password_file(password)})
    # Dovecot looks at the file once in each second of the clock. A reload would be quicker,
    # but cuts postfix's connection: the next login would end with 454 instead of an answer.
    time.sleep(1.1)


def messages(container: str, local_part: str = "user") -> list[EmailMessage]:
    """All messages of the mailbox of LOCAL_PART@example.com, oldest first."""
    archived = podman(
        *("exec", container, "tar", "--create", "--ignore-failed-read", "--directory", _MAILBOXES),
        *("--file=-", f"./{local_part}/Maildir/new", f"./{local_part}/Maildir/cur"),
        check=False,  # no mailbox before the first message
    )
    if not archived.stdout:
        return []
    found = []
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            if content is not None:
                parsed = email.message_from_bytes(content.read(), policy=email.policy.default)
                assert isinstance(parsed, EmailMessage)
                found.append((_delivered(Path(member.name).name), parsed))
    return [message for _, message in sorted(found, key=lambda pair: pair[0])]


def _delivered(name: str) -> tuple[int, int]:
    """The second and the microsecond in a name that postfix gives in a Maildir; between them it has the inode."""
    moment = re.match(r"(\d+)\..*M(\d+)\.", name)
    assert moment is not None, name
    return int(moment[1]), int(moment[2])


def wait_for_messages(
    container: str, count: int = 1, *, seconds: float = 10, local_part: str = "user"
) -> list[EmailMessage]:
    """The mailbox as soon as it holds at least `count` messages. LabError when it never does."""
    deadline = time.monotonic() + seconds
    while True:
        found = messages(container, local_part)
        if len(found) >= count:
            return found
        if time.monotonic() > deadline:
            raise LabError(f"{len(found)} message(s) for {local_part}@example.com after {seconds:g} s, {count} awaited")
        time.sleep(0.3)


def clear(container: str) -> None:
    """Empty all mailboxes."""
    podman("exec", container, "find", _MAILBOXES, "-mindepth", "1", "-delete")


def text(message: EmailMessage) -> str:
    """The message as a person reads it: the decoded headers that matter, then the text."""
    headers = [f"{name}: {message[name]}" for name in ("Subject", "From", "To", "Date")]
    body = message.get_body(preferencelist=("plain",))
    content = body.get_content() if body is not None else "(no text)\n"
    return "\n".join(headers) + "\n\n" + str(content)


def _put(container: str, files: dict[str, bytes]) -> None:
    """Write files to /etc/lab of the provider, each in one move.

    Passwords are readable by dovecot's own user, keys by root only.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            # Dovecot knows a new file by its size and whole second; no two writes share one.
            entry.mtime = time.time_ns() // 1_000_000 % 2**31
            entry.uname = entry.gname = "dovecot" if name == "passwords" else "root"
            archive.addfile(entry, io.BytesIO(content))
    podman(
        *("exec", "--interactive", container),
        *("tar", "--extract", "--unlink-first", "--directory=/etc/lab", "--file=-"),
        stdin=packed.getvalue(),
    )
