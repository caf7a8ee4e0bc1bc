"""A provider that fails on demand; runs on the server of the lab, where msmtp talks to it on port 2587.

The directory given as argument holds ``mail.crt`` and ``mail.key``, optionally ``faults.json`` (stage -> reply, ``drop`` or
``hang``; stage ``rcpt`` may name one recipient as ``rcpt user@example.com``), and gets ``taken/``, a file for each mail.
Everything is read anew for each connection. Only what msmtp says is understood.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import socketserver
import ssl
import sys
import time
import uuid

ROOT = pathlib.Path(sys.argv[1])


class DroppedError(Exception):
    """This conversation ends here."""


class Conversation(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        with contextlib.suppress(OSError, DroppedError, ssl.SSLError):
            self.talk()

    def talk(self) -> None:
        self.faults = json.loads((ROOT / "faults.json").read_text()) if (ROOT / "faults.json").exists() else {}
        self.recipient = ""
        if not self.answer("connect", "220 provoking ESMTP"):
            return
        while line := self.rfile.readline():
            verb = line.split()[0].decode().lower()
            if verb == "quit":
                self.say("221 bye")
                return
            self.command(verb, line)

    def command(self, verb: str, line: bytes) -> None:
        if verb == "ehlo":
            more = "250-AUTH PLAIN" if isinstance(self.connection, ssl.SSLSocket) else "250-STARTTLS"
            self.answer("ehlo", f"250-provoking\r\n{more}\r\n250 8BITMIME")
        elif verb == "starttls":
            if self.answer("starttls", "220 go ahead"):
                self.secure()
        elif verb == "rcpt":
            self.recipient = line.decode().partition("<")[2].partition(">")[0]
            stage = f"rcpt {self.recipient}"
            self.answer(stage if stage in self.faults else "rcpt", "250 ok")
        elif verb == "data":
            if self.answer("data", "354 go on"):
                self.take()
        else:
            self.answer(verb, {"auth": "235 in"}.get(verb, "250 ok"))

    def take(self) -> None:
        message = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            message.append(line)
        if "after" in self.faults:  # taken, and nobody is told
            self.keep(b"".join(message))
            self.answer("after", "")
        if "body" not in self.faults:
            self.keep(b"".join(message))
        self.answer("body", "250 taken")

    def keep(self, message: bytes) -> None:
        taken = ROOT / "taken"
        taken.mkdir(exist_ok=True)
        (taken / f"{time.time_ns()}-{uuid.uuid4().hex}-{self.recipient}").write_bytes(message)

    def secure(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ROOT / "mail.crt", ROOT / "mail.key")
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)

    def answer(self, stage: str, usual: str) -> bool:
        """Say what is usual at this stage, or fail as told; whether it was the usual."""
        fault = self.faults.get(stage)
        if fault == "drop":
            raise DroppedError
        if fault == "hang":
            time.sleep(600)
        self.say(fault or usual)
        return fault is None

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


class Provider(socketserver.ThreadingTCPServer):
    """Any number of conversations."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


Provider(("127.0.0.1", 2587), Conversation).serve_forever()
