"""Whatever fails on the way of an alert: in the end it is in the mailbox, once, and what is over comes after it."""

from __future__ import annotations

import base64
import contextlib
import datetime
import email
import email.policy
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest
from conftest import LAB, PROJECT, SCRIPT, SPOOL, Provider, Server
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from labkit import mail

ROOT = "/home/admin/provoked"
PROGRAM = f"python3 -E -s /usr/local/lib/sedai/send_alert_email.py {ROOT}/alert_mail.toml"
HERE = Path(__file__).parent
DAY = 86400
WAITS, LOST = 75, 73

# Lets time pass for the spool: everything in it happened so much earlier. Cron is stopped meanwhile.
AGE = """
import json, pathlib, sys
spool, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
for path in spool.glob("queue/*.mail"):
    head, _, message = path.read_bytes().partition(b"\\n")
    envelope = json.loads(head)
    envelope["created"] -= seconds
    envelope["next_attempt"] -= seconds
    path.write_bytes(json.dumps(envelope).encode() + b"\\n" + message)
for path in spool.glob("incidents/*.json"):
    incident = json.loads(path.read_bytes())
    for key in ("first", "last", "mailed"):
        incident[key] -= seconds
    path.write_text(json.dumps(incident))
"""


def age(server: Server, spool: str, seconds: float) -> None:
    done = server.as_user(f"python3 -c {shlex.quote(AGE)} {spool} {seconds}")
    assert done.rc == 0, done.stderr


def write(host: Host, path: str, data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    host.run_expect([0], f"echo {encoded} | base64 -d >{path}.new && chown admin: {path}.new && mv {path}.new {path}")


def certificate(names: list[str], *, from_days: int, to_days: int, authority: Path | None) -> tuple[bytes, bytes]:
    """A certificate and its key, of the lab's authority, or of one that nobody knows."""
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    signer, issuer = key, subject
    if authority is not None:
        loaded = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer, issuer = loaded, x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes()).subject
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=from_days))
        .not_valid_after(now + datetime.timedelta(days=to_days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(encoding), private


@dataclass
class Provoked:
    """The same programs as everywhere on the server, with a provider that fails on demand."""

    server: Server
    spool: str = f"{ROOT}/spool"

    def fail(self, faults: dict[str, str]) -> None:
        write(self.server.host, f"{ROOT}/faults.json", json.dumps(faults).encode())

    def present(self, pair: tuple[bytes, bytes]) -> None:
        for name, data in zip(("mail.crt", "mail.key"), pair, strict=True):
            write(self.server.host, f"{ROOT}/{name}", data)

    def configure(self, *recipients: str) -> None:
        text = f"""
            recipients = {json.dumps(recipients)}
            from_address = "user@example.com"
            from_name = "sedai"
            spool_directory = "{self.spool}"
            log_file = "{ROOT}/alert_mail.log"
            msmtp_config = "{ROOT}/msmtprc"
            """
        write(self.server.host, f"{ROOT}/alert_mail.toml", text.encode())

    def call(self, *words: str, expect: int) -> CommandResult:
        done = self.server.as_user(f"{PROGRAM} {shlex.join(words)}")
        assert done.rc == expect, f"{done.rc}: {done.stdout}{done.stderr}"
        return done

    def steps(self, *steps: dict[str, str] | tuple[str, ...]) -> list[int]:
        """One step after the other, in one go: faults, or the words of a call; a ``--flush`` comes when it is due.

        Returns the exit codes of the calls.
        """
        lines = []
        for step in steps:
            if isinstance(step, dict):
                lines.append(f"printf %s {shlex.quote(json.dumps(step))} >{ROOT}/faults.json")
                continue
            if step == ("--flush",):
                lines.append(f"python3 {ROOT}/age.py {self.spool} 1800")
            lines.append(f"{PROGRAM} {shlex.join(step)} >/dev/null 2>&1; echo $?")
        return [int(code) for code in self.server.as_user("\n".join(lines)).stdout.split()]

    def flush(self, expect: int = 0) -> None:
        """What cron does, when the time of the next attempt has come."""
        assert self.steps(("--flush",)) == [expect]

    def waiting(self) -> int:
        return len(self.server.host.run(f"ls {self.spool}/queue").stdout.split())

    def taken(self) -> list[tuple[str, str]]:
        """Recipient and subject of each mail that the provider took, in order."""
        return [(recipient, str(message["Subject"])) for recipient, message in self.messages()]

    def messages(self) -> list[tuple[str, EmailMessage]]:
        script = f"cd {ROOT} && for file in taken/*; do echo $file; base64 -w0 $file; echo; done 2>/dev/null"
        lines = self.server.host.run(script).stdout.split()
        found = []
        for name, data in zip(lines[::2], lines[1::2], strict=False):
            message = email.message_from_bytes(base64.b64decode(data), policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            found.append((name.split("-", 2)[2], message))
        return found


@pytest.fixture(scope="module")
def authority() -> Path:
    return PROJECT / ".lab" / LAB


@pytest.fixture(scope="module")
def good(authority: Path) -> tuple[bytes, bytes]:
    return certificate(["localhost"], from_days=-1, to_days=30, authority=authority)


@pytest.fixture(scope="module")
def running(server: Server, good: tuple[bytes, bytes]) -> Iterator[Provoked]:
    host = server.host
    host.run_expect([0], f"rm -rf {ROOT} && install -d -o admin -g admin -m 0700 {ROOT}")
    made = Provoked(server)
    made.present(good)
    made.configure("user@example.com")
    write(host, f"{ROOT}/age.py", AGE.encode())
    write(host, f"{ROOT}/provoking.py", (HERE / "provoking.py").read_bytes())
    settings = f"""
        defaults
        auth on
        tls on
        tls_starttls on
        tls_trust_file /etc/ssl/certs/ca-certificates.crt
        timeout 10
        logfile {ROOT}/msmtp.log
        account default
        host localhost
        port 2587
        from user@example.com
        user user@example.com
        password anything
        """
    write(host, f"{ROOT}/msmtprc", settings.replace("        ", "").encode())
    host.run_expect([0], f"chmod 0600 {ROOT}/msmtprc")
    unit = "systemd-run --unit=provoking --uid=admin --collect python3"
    host.run_expect([0], f"{unit} {ROOT}/provoking.py {ROOT}")
    deadline = time.monotonic() + 10
    while not host.run("ss -Hltn 'sport = :2587'").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield made
    host.run("systemctl stop provoking")


@pytest.fixture
def provoked(running: Provoked) -> Provoked:
    running.server.host.run_expect([0], f"rm -rf {ROOT}/spool/* {ROOT}/taken {ROOT}/faults.json")
    return running


@pytest.fixture
def two_recipients(provoked: Provoked) -> Iterator[tuple[str, str]]:
    both = ("second@example.com", "user@example.com")
    provoked.configure(*both)
    yield both
    provoked.configure("user@example.com")


STAGES = ("connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body")
FAULTS = {"for now": "451 4.7.1 come back later", "for ever": "554 5.7.1 go away", "broken off": "drop"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_provider_that_fails_at_any_stage(provoked: Provoked, stage: str, fault: str) -> None:
    """Permanent refusals too: a provider that was set up wrongly says 5xx, and is mended an hour later."""
    report, over, flush = ("--incident", "backup", "FAILED", "x"), ("--resolved", "backup", "over", "x"), ("--flush",)
    codes = provoked.steps({stage: FAULTS[fault]}, report, report, flush, {}, flush, flush, over)
    assert codes == [WAITS, 0, WAITS, 0, 0, 0]
    assert provoked.taken() == [("user@example.com", "FAILED"), ("user@example.com", "over")]


# Before TLS msmtp's own `timeout 10` ends it; behind it that was seen not to hold, and the 120 s that we give msmtp do.
@pytest.mark.parametrize("stage, least, most", [("connect", 9, 60), ("body", 9, 160)])
def test_a_provider_that_falls_silent(provoked: Provoked, stage: str, least: float, most: float) -> None:
    """It keeps the connection and says nothing more: that comes to an end too, and the alert waits."""
    began = time.monotonic()
    codes = provoked.steps({stage: "hang"}, ("--incident", "backup", "FAILED", "x"))
    assert codes == [WAITS]
    assert least < time.monotonic() - began < most
    assert provoked.steps({}, ("--flush",), ("--resolved", "backup", "over", "x")) == [0, 0]
    assert provoked.taken() == [("user@example.com", "FAILED"), ("user@example.com", "over")]


@pytest.mark.parametrize(
    ("names", "from_days", "to_days", "known"),
    [
        (["localhost"], -30, -1, True),
        (["localhost"], 1, 30, True),
        (["other.example.com"], -1, 30, True),
        (["localhost"], -1, 30, False),
    ],
    ids=["expired", "not yet valid", "of another host", "of an unknown authority"],
)
def test_a_certificate_that_is_wrong_gets_no_mail_and_no_password(
    provoked: Provoked, authority: Path, names: list[str], from_days: int, to_days: int, known: bool,
    good: tuple[bytes, bytes],
) -> None:  # fmt: skip
    provoked.present(certificate(names, from_days=from_days, to_days=to_days, authority=authority if known else None))
    try:
        assert "certificate" in provoked.call("FAILED", "body", expect=WAITS).stderr
        assert provoked.taken() == []
    finally:
        provoked.present(good)
    provoked.flush()
    assert provoked.taken() == [("user@example.com", "FAILED")]


def test_greylisting_of_each_recipient(provoked: Provoked, two_recipients: tuple[str, str]) -> None:
    second, first = two_recipients
    grey = "450 4.2.0 greylisted, try again in a minute"
    both = {f"rcpt {recipient}": grey for recipient in two_recipients}
    assert provoked.steps(both, ("FAILED", "x"), {f"rcpt {second}": grey}) == [WAITS]
    # One who is still kept waiting keeps nobody else waiting.
    provoked.call("--flush", expect=WAITS)
    assert provoked.taken() == [(first, "FAILED")]
    assert provoked.steps({}, ("--flush",)) == [0]
    assert provoked.taken() == [(first, "FAILED"), (second, "FAILED")]


def test_one_bad_recipient_of_two_delays_only_his_own(provoked: Provoked, two_recipients: tuple[str, str]) -> None:
    gone, other = two_recipients
    steps: list[dict[str, str] | tuple[str, ...]] = [{f"rcpt {gone}": "550 5.1.1 no such user"}]
    for number in range(3):
        steps += [(f"alert {number}", "x"), ("--flush",)]
    assert provoked.steps(*steps) == [WAITS] * 6
    assert provoked.taken() == [(other, f"alert {number}") for number in range(3)]
    assert provoked.steps({}, ("--flush",)) == [0]
    assert provoked.taken()[3:] == [(gone, f"alert {number}") for number in range(3)]


def test_an_answer_that_is_lost_can_be_told_by_its_message_id(provoked: Provoked) -> None:
    """The one way in which a mail comes twice: it was taken, and the word of it was lost. Both are the same message."""
    provoked.fail({"after": "drop"})
    provoked.call("FAILED", "body", expect=WAITS)
    provoked.fail({})
    provoked.flush()
    identities = [str(message["Message-ID"]) for _, message in provoked.messages()]
    assert len(identities) == 2 and len(set(identities)) == 1


@contextlib.contextmanager
def full_disk(provoked: Provoked) -> Iterator[str]:
    """The spool lies on a file system without a free byte; the name of the file that fills it."""
    host = provoked.server.host
    directory = "/dev/shm/provoked"  # a file system of its own in every container
    host.run_expect([0], f"install -d -o admin -g admin -m 0700 {directory}")
    provoked.spool = f"{directory}/spool"
    provoked.configure("user@example.com")
    try:
        host.run_expect([1], f"dd if=/dev/zero of={directory}/full bs=4k")
        yield f"{directory}/full"
    finally:
        host.run_expect([0], f"rm -rf {directory}")
        provoked.spool = f"{ROOT}/spool"
        provoked.configure("user@example.com")


def test_a_full_disk_under_the_spool(provoked: Provoked) -> None:
    with full_disk(provoked) as filling:
        provoked.call("--incident", "backup", "FAILED", "1", expect=0)  # straight through
        provoked.fail({"connect": "drop"})
        said = provoked.call("--incident", "other", "OTHER", "2", expect=LOST).stderr
        assert "No space left on device" in said
        assert "is lost unless you send it again" in said
        # Whoever called keeps it and sends it again, as the client does.
        assert provoked.steps({}, ("--incident", "other", "OTHER", "2")) == [0]
        assert [subject for _, subject in provoked.taken()] == ["FAILED", "OTHER"]
        # With room again the first report is noted, and what follows is folded.
        provoked.server.host.run_expect([0], f"rm {filling}")
        again = ("--incident", "other", "OTHER", "3")
        assert provoked.steps(again, again, again) == [0, 0, 0]
        assert [subject for _, subject in provoked.taken()] == ["FAILED", "OTHER", "OTHER"]
        assert provoked.waiting() == 0


def test_fifty_at_once_through_the_real_provider(server: Server, provider: Provider) -> None:
    """More connections than it takes from one host at a time."""
    single = f'for n in $(seq 50); do {SCRIPT} "storm $n" body >/dev/null 2>&1 & done; wait'
    folded = f"for n in $(seq 50); do {SCRIPT} --incident storm 'storm folded' body >/dev/null 2>&1 & done; wait"
    server.as_user(single)
    server.as_user(folded)
    deadline = time.monotonic() + 120
    while server.waiting():
        assert time.monotonic() < deadline, server.alert("--list").stdout
        age(server, SPOOL, 0)
        server.as_user(f"{SCRIPT} --flush")
        time.sleep(1)
    time.sleep(2)
    expected = sorted([f"storm {number}" for number in range(1, 51)] + ["storm folded"])
    for local_part in ("user", "second"):
        subjects = [str(message["Subject"]) for message in mail.messages(provider.container, local_part)]
        assert sorted(subject for subject in subjects if subject.startswith("storm ")) == expected
    server.alert("--resolved", "storm", "the storm is over", "body")


def test_a_wrong_password_at_the_real_provider(server: Server, provider: Provider) -> None:
    mail.set_password(provider.container, "another one")
    try:
        assert "login was refused" in server.alert("wrong password", "body", expect=WAITS).stderr
    finally:
        mail.set_password(provider.container, mail.FIRST_PASSWORD)
    age(server, SPOOL, 1800)
    server.as_user(f"{SCRIPT} --flush")
    for local_part in ("user", "second"):
        provider.wait("wrong password", local_part)


@pytest.fixture
def without_cron(server: Server) -> Iterator[None]:
    server.host.run_expect([0], "systemctl stop cron")
    yield
    server.host.run_expect([0], "systemctl start cron")


def test_a_day_without_the_provider(server: Server, provider: Provider, without_cron: None) -> None:
    """26 hours pass in the spool: an incident is reported hourly and is over at last; another one comes between."""
    lines = []
    for hour in range(26):
        lines.append(f"{SCRIPT} --incident day:backup 'day: FAILED' 'hour {hour}'; echo $?")
        if hour == 12:
            lines.append(f"{SCRIPT} 'day: something else' body; echo $?")
        lines += [f"python3 -c {shlex.quote(AGE)} {SPOOL} 3600", f"{SCRIPT} --flush; echo $?"]
    lines.append(f"{SCRIPT} --resolved day:backup 'day: over' 'all is well'; echo $?")
    with provider.away():
        said = server.as_user("\n".join(lines)).stdout.split("\n")
    codes = [int(line) for line in said if line.isdigit()]
    # Folded: 25. In the spool: the first, the other one, what the 26 flushes find, and the end.
    assert (codes.count(0), codes.count(WAITS)) == (25, 1 + 1 + 26 + 1)
    server.host.run_expect([0], "systemctl start cron")
    for local_part in ("user", "second"):
        assert provider.wait("day: FAILED", local_part, seconds=90).get_content() == "hour 0\n"
        provider.wait("day: something else", local_part)
        assert "reported 26 times" in provider.wait("day: over", local_part).get_content()
        subjects = [str(message["Subject"]) for message in mail.messages(provider.container, local_part)]
        day = [subject for subject in subjects if "day: " in subject]
        assert sorted(day) == ["day: FAILED", "day: over", "day: something else"]
        assert day.index("day: FAILED") < day.index("day: over")
    assert server.alert("--incidents").stdout == ""


def test_a_reminder_comes_after_a_day(server: Server, provider: Provider, without_cron: None) -> None:
    server.alert("--incident", "long:backup", "long: FAILED", "the first")
    for hour in (1, 2):
        server.alert("--incident", "long:backup", "long: FAILED", f"hour {hour}")
    age(server, SPOOL, DAY)
    server.alert("--flush")
    server.alert("--flush")
    content = provider.wait("Reminder: long: FAILED").get_content()
    assert "reported 3 times, 2 of them since the last mail" in content and content.startswith("hour 2\n")
    server.alert("--resolved", "long:backup", "long: over", "all is well")
    provider.wait("long: over")
    provider.wait("long: FAILED")
