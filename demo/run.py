#!/usr/bin/env python3
"""The demo: a client, a VPS and a mail provider as containers, and everything that sedai promises, done once for real.

Each step prints the command as a person would type it, then what it says. The first thing that is not as it must be
ends the demo with exit 1. The lab stays up afterwards.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "molecule" / "shared"))

from labkit import labs, mail
from labkit.system import LabError

LAB = labs.Lab("demo")
CLIENT, SERVER = (LAB.container(name) for name in ("client", "server"))
MAIL = LAB.container(labs.MAIL_HOST)
SCRIPTS = "/root/project/scripts"
STORE = "/srv/sedai/client/generations"
VICTIM = "usr/share/common-licenses/GPL-3"
NEW_PASSWORD = 'rotated "#1" pässword'
BEGAN = time.monotonic()


def main() -> None:
    """All steps in order."""
    start_lab()
    provision()
    send_test_mail()
    back_up_twice()
    lose_a_table()
    keep_ten()
    find_a_flipped_byte()
    restore()
    rotate_password()
    goodbye()


def step(text: str) -> None:
    """A heading, with the time since the start."""
    print(f"\n\033[1m== {text}\033[0m  [{time.monotonic() - BEGAN:.0f} s]", flush=True)


def fail(text: str) -> NoReturn:
    """Something is not as it must be."""
    print(f"\nThe demo failed: {text}\nThe lab is still up; `make demo-down` removes it.", file=sys.stderr)
    sys.exit(1)


def expect(truth: bool, text: str) -> None:
    """End the demo unless ``truth``."""
    if not truth:
        fail(text)


def show(words: Sequence[str], *, status: int = 0, echo: bool = True, limit: int = 40) -> str:
    """Print a command, run it, print what it says, and insist on its exit status."""
    print("$", *(word for word in words if word not in ("-F", str(LAB.ssh_config))), flush=True)
    done = subprocess.run(words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    lines = done.stdout.rstrip().splitlines()
    if done.returncode != status:
        print("\n".join(lines))
        fail(f"that ended with status {done.returncode}, not {status}.")
    if echo:
        print("\n".join(lines[-limit:]))
    return done.stdout


def client(command: str, *, status: int = 0, echo: bool = True) -> str:
    """Run ``command`` as root on the client, over SSH."""
    return show(["ssh", "-F", str(LAB.ssh_config), CLIENT, f"sudo {command}"], status=status, echo=echo)


def server(command: str, *, echo: bool = True) -> str:
    """Run ``command`` on the server, over SSH."""
    return show(["ssh", "-F", str(LAB.ssh_config), SERVER, command], echo=echo)


def playbook(*words: str, status: int = 0) -> str:
    """Run ansible-playbook and print its recap only."""
    words = ("-i", "inventory/demo", *words)
    command = [str(ROOT / ".venv" / "bin" / "ansible-playbook"), *words]
    print(f"$ ansible-playbook {shlex.join(words)}", flush=True)
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != status:
        print(done.stdout)
        fail(f"ansible-playbook ended with status {done.returncode}, not {status}.")
    print(done.stdout[done.stdout.find("RECAP") :].rstrip())
    return done.stdout


def start_lab() -> None:
    step("Start the lab: a client (Debian 12), a server (Debian 13) and a mail provider")
    hosts = [labs.Host("client", "bookworm"), labs.Host("server", "trixie"), labs.Host(labs.MAIL_HOST, "mail")]
    labs.up(LAB, hosts)
    print(", ".join(LAB.container(host.name) for host in hosts))
    step("The client has a PostgreSQL database before we come: shop, with 10,000 orders")
    client("apt-get install --yes --quiet=2 --no-install-recommends postgresql", echo=False)
    client("runuser -u postgres -- createdb shop")
    sql(
        "shop",
        "CREATE TABLE orders (id integer PRIMARY KEY, item text); "
        "INSERT INTO orders SELECT n, 'item ' || n FROM generate_series(1, 10000) n",
    )
    expect(orders("shop") == 10_000, "the orders are not there")


def provision() -> None:
    step("Provision both with one command")
    playbook("site.yml")
    step("Provision again: nothing changes")
    output = playbook("site.yml")
    changed = re.findall(r"changed=(\d+)", output)
    expect(len(changed) == 2 and set(changed) == {"0"}, f"the second run changed something: {changed}")


def print_mail(message: EmailMessage) -> None:
    """A mail as the mailbox holds it, decoded."""
    print("\n".join(f"  | {line}" for line in mail.text(message).rstrip().splitlines()))


def wait_for_mail(count: int, what: str) -> EmailMessage:
    """The newest mail once there are ``count``."""
    try:
        return mail.wait_for_messages(MAIL, count)[-1]
    except LabError as error:
        fail(f"{what} did not arrive: {error}")


def send_test_mail() -> None:
    step("The test mail of the VPS, as the provider's mailbox holds it")
    mail.clear(MAIL)
    playbook("playbooks/test_alert.yml")
    message = wait_for_mail(1, "the test mail")
    expect(message["Subject"] == "[TEST] Backup Alert Test", f"the subject is {message['Subject']!r}")
    print_mail(message)


def sql(database: str, statement: str) -> str:
    """Have the client's PostgreSQL carry out ``statement``."""
    return client(f'runuser -u postgres -- psql --no-align --tuples-only {database} --command "{statement}"')


def orders(database: str) -> int:
    """How many rows the table orders has."""
    return int(sql(database, "SELECT count(*) FROM orders").strip())


def lose_a_table() -> None:
    step("Somebody drops a table")
    sql("shop", "DROP TABLE orders")
    step("The dump of this night brings it back, beside the database as it is now")
    client(f"{SCRIPTS}/restore_data.py databases")
    client(f"{SCRIPTS}/restore_data.py restore-db main/shop --as shop_restored")
    expect(orders("shop_restored") == 10_000, "not all orders came back")
    step("Or in its place; the one without the table is kept under another name")
    client(f"{SCRIPTS}/restore_data.py restore-db main/shop --overwrite")
    expect(orders("shop") == 10_000, "not all orders came back")


def back_up_twice() -> None:
    step("First backup: the client's /etc and /usr/share, and its databases")
    first = client(f"{SCRIPTS}/backup_data.py")
    expect("10,000 rows" in first, "the database was not dumped")
    files = re.search(r": ([\d,]+) files?", first)
    expect(files is not None and int(files[1].replace(",", "")) > 10_000, "fewer than 10,000 files were backed up")
    step("Change one file, add one, delete one; second backup: only that is sent")
    client("sh -c 'echo changed >> /etc/motd; echo new > /etc/brand-new; rm /usr/share/common-licenses/BSD'")
    second = client(f"{SCRIPTS}/backup_data.py")
    expect("1 removed" in second, "the deleted file was not noticed")
    step("Check: names, counts, sizes and times; then every byte")
    client(f"{SCRIPTS}/check_backup_integrity.py")
    client(f"{SCRIPTS}/check_backup_integrity.py --level full --all")


def keep_ten() -> None:
    step("Ten more backups: twelve were made, ten generations stay")
    for _ in range(9):
        client(f"{SCRIPTS}/backup_data.py --quiet", echo=False)
    client(f"{SCRIPTS}/backup_data.py")
    listed = client(f"{SCRIPTS}/restore_data.py list")
    expect(listed.count(" files ") == 10, "there are not ten generations")


def find_a_flipped_byte() -> None:
    step("Flip one byte of a stored file on the server")
    holders = server(f"sudo sh -c 'ls -1 -d {STORE}/*/tree/{VICTIM}'", echo=False).splitlines()
    flip = (
        "import os,sys; f=open(sys.argv[1],'r+b'); s=os.stat(f.fileno()); f.seek(100); b=f.read(1); f.seek(100); "
        "f.write(bytes([b[0]^1])); f.close(); os.utime(sys.argv[1],ns=(s.st_atime_ns,s.st_mtime_ns))"
    )
    server(f'sudo python3 -c "{flip}" {holders[-1]}')
    step("The full check finds exactly that file, in each generation that holds it, and mails")
    mail.clear(MAIL)
    output = client(f"{SCRIPTS}/check_backup_integrity.py --level full --all", status=1)
    problems = [line for line in output.splitlines() if line.startswith("PROBLEM ")]
    expect(len(problems) == len(holders) == 10, f"{len(problems)} problems were found, {len(holders)} were expected")
    expect(all(f"/{VICTIM} in " in line for line in problems), "another file was named")
    print_mail(wait_for_mail(1, "the alert"))


def restore() -> None:
    step("Restore a directory and compare it")
    client(f"{SCRIPTS}/restore_data.py restore --to /root/restored /etc/ssh")
    client("diff -r /etc/ssh /root/restored/etc/ssh")
    print("No difference.")


def password_file(name: str, password: str) -> str:
    """A variables file with an SMTP password, as ansible-vault would hold it."""
    path = LAB.directory / name
    path.write_text(json.dumps({"vault_msmtp_password": password}), encoding="utf-8")
    path.chmod(0o600)
    return f"@{path.relative_to(ROOT)}"


def rotate_password() -> None:
    step("Rotate the SMTP password: the provider has a new one, site.yml is run again with it")
    mail.set_password(MAIL, NEW_PASSWORD)
    playbook("site.yml", "-e", password_file("new_password.yml", NEW_PASSWORD))
    step("A wrong password is refused, and the one in use keeps working")
    refused = playbook("site.yml", "-e", password_file("wrong_password.yml", "not-it"), status=2)
    words = re.search(r"server message: (535 [^|\n]*)", refused)
    expect(words is not None and "not-it" not in refused, "the provider's words are not shown, or the password is")
    print(f"The provider said: {words[1].strip() if words else ''}")
    mail.clear(MAIL)
    server("~/scripts/send_alert_email.sh '[TEST] still here' 'The password in use still delivers.'")
    expect(wait_for_mail(1, "the mail after the refusal")["Subject"] == "[TEST] still here", "another mail arrived")
    print("The mail arrived.")


def goodbye() -> None:
    step("Done; everything was as promised")
    ssh = f"ssh -F {LAB.ssh_config.relative_to(ROOT)}"
    print(
        f"""The lab is still up. Look around:
  {ssh} {CLIENT}      sudo {SCRIPTS}/restore_data.py list
  {ssh} {SERVER}      sudo ls -l /srv/sedai/client/generations
  .venv/bin/python molecule/shared/lab.py mail demo      what the mailbox holds
  make demo-down                                         removes it all"""
    )


if __name__ == "__main__":
    main()
