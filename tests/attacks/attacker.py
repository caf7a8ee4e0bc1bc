"""What somebody with a client's key can do: speak to the gate with OpenSSH and rsync, honestly and otherwise."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xxhash

from labkit.labs import Lab
from sedai.client import scan, send
from sedai.core import manifest, sshsig, wire
from sedai.core.wire import Change

CAPABILITIES = "LsfxCIvu"
PUSH = (
    f"rsync --server -lHogDtpAXIRSe.{CAPABILITIES} --log-format=%i --checksum-choice=xxh128 "
    f"--partial-dir {wire.PARTIAL_DIRECTORY} --numeric-ids --copy-dest /base --fake-super . /delta/"
)
PULL = (
    f"rsync --server --sender -lHogDtpAXIRSe.{CAPABILITIES} --checksum-choice=xxh128 --numeric-ids --files-from=- --from0 "
    "--no-implied-dirs --fake-super . /{generation}/"
)
PROTOCOL = {"protocol": wire.PROTOCOL}
Done = subprocess.CompletedProcess[bytes]


class Attacker:
    """One client's key, a directory to send from, and what the last manifest was."""

    def __init__(self, lab: Lab, name: str, key: str, directory: Path) -> None:
        self.name = name
        self.root = directory / "root"
        self.sealed: set[bytes] = set()
        self.key = lab.directory / key
        self._socket = directory / "s"
        self.ssh_words = [
            *("ssh", "-F", str(lab.ssh_config), "-l", "sedai", "-i", str(self.key), "-o", "BatchMode=yes"),
            *("-o", "LogLevel=ERROR", "-o", "IdentityAgent=none"),
        ]
        if key != "id_ed25519":
            # The lab's own configuration names alpha's key, which would be offered first.
            config = directory / "ssh_config"
            text = lab.ssh_config.read_text().replace(str(lab.directory / "id_ed25519"), str(self.key))
            config.write_text(text)
            self.ssh_words[2] = str(config)
        self._shared = [*self.ssh_words, "-o", "ControlMaster=auto", "-o", f"ControlPath={self._socket}",
                        "-o", "ControlPersist=300"]  # fmt: skip

    def close(self) -> None:
        """End the shared connection."""
        subprocess.run([*self._shared, "-O", "exit", "server"], capture_output=True, check=False)

    def ask(self, command: str | bytes, stdin: bytes = b"", *, timeout: float = 60) -> Done:
        """Let the gate carry out ``command``, over a connection that all attempts share."""
        return subprocess.run(
            [*self._shared, "--", "server", command], input=stdin, capture_output=True, check=False, timeout=timeout
        )

    def fresh(self, *words: str, stdin: bytes = b"", timeout: float = 30) -> Done:
        """ssh with options of its own, over a connection of its own."""
        return subprocess.run([*self.ssh_words, *words], input=stdin, capture_output=True, check=False, timeout=timeout)

    def verb(self, verb: str, request: dict[str, Any] | None = None, rest: bytes = b"") -> Done:
        """A verb with a request, and what follows it."""
        return self.ask(verb, json.dumps(PROTOCOL | (request or {})).encode() + b"\n" + rest)

    def result(self, verb: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of a verb that must succeed."""
        done = self.verb(verb, request)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
        return result

    def generations(self) -> list[str]:
        """What the gate lists."""
        return [record["generation"] for record in self.result("list")["generations"]]

    def put(self, files: dict[str, bytes]) -> None:
        """Have exactly these files at the source."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        for name, content in files.items():
            place = self.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def paths(self) -> list[bytes]:
        """Everything at the source, in walk order."""
        found = [os.fsencode(path.relative_to(self.root)) for path in self.root.rglob("*")]
        return sorted(found, key=manifest.order)

    def push(self, *, through: str = "", words: Sequence[str] = ()) -> Done:
        """Send with a real rsync; the Python program ``through`` with ``words`` is put between it and ssh."""
        between: list[str] = []
        if through:
            program = self.root.with_name("between.py")
            program.write_text(through)
            between = [sys.executable, str(program), *words]
        argv = send.push_arguments(shlex.join([*between, *self._shared]), "server:/delta/", 0)
        argv[-2] = f"{self.root}/"
        names = b"\0".join(self.paths()) + b"\0"
        return subprocess.run(argv, input=names, capture_output=True, check=False, timeout=60)

    def change(self, path: bytes, **lies: Any) -> Change:
        """The honest change of ``path`` as it is at the source, and what is different about it."""
        place = os.fsencode(self.root) + b"/" + path
        begin = scan.signature(path, os.lstat(place))
        assert begin is not None
        target = manifest.escape(os.readlink(place)) if os.path.islink(place) else b""
        entry = manifest.decode(begin + b"-\t-\t" + target + b"\n")
        if entry.kind == "f":
            content = Path(os.fsdecode(place)).read_bytes()
            entry = entry._replace(xxh128=xxhash.xxh3_128(content).hexdigest().encode())
        return Change(path, manifest.encode(entry._replace(**lies)))

    def changes(self) -> bytes:
        """The honest changes of everything at the source."""
        return b"".join(wire.encode_change(self.change(path)) for path in self.paths())

    def seal(self, changes: bytes, entries: int, lies: dict[str, Any] | None = None) -> Done:
        """Ask for a seal on the newest generation."""
        begun = self.result("begin", {"time": time.time()})
        request = {
            "base": begun["base"],
            "base_manifest_sha256": begun["base_manifest_sha256"],
            "entries": entries,
            "started": "now",
            "sources": ["/docs"],
        }
        return self.verb("seal", request | (lies or {}), changes + wire.CHANGES_END)

    def signature(self, record: bytes, namespace: str = sshsig.NAMESPACE) -> str:
        """A true signature of ``record`` by this client's key."""
        argv = ["ssh-keygen", "-Y", "sign", "-q", "-f", self.key, "-n", namespace]
        return subprocess.run(argv, input=record, capture_output=True, check=True).stdout.decode()

    def sign(self, generation: str) -> str:
        """Sign a generation as it is, honestly; returns the signature."""
        listed = self.result("list", {"signatures": True})["generations"]
        [record] = [one["record_bytes"] for one in listed if one["generation"] == generation]
        signature = self.signature(wire.unpack(record))
        self.result("sign", {"generation": generation, "signature": signature})
        return signature

    def back_up(self, files: dict[str, bytes], signed: bytes | None = None) -> dict[str, Any]:
        """An honest backup of exactly these files, all of them sent; the seal's result.

        ``signed``: what the gate hears when it asks for a signature; it is not asked to where that is None.
        """
        self.put(files)
        sent = self.push()
        assert sent.returncode == 0, sent.stderr
        paths = set(self.paths())
        changes = [self.change(path) for path in paths]
        changes += [Change(path, None) for path in self.sealed - paths]
        changes.sort(key=lambda change: manifest.order(change.path))
        said = b"".join(map(wire.encode_change, changes))
        if signed is not None:
            said += wire.CHANGES_END + signed
        done = self.seal(said, len(paths), {"signs": signed is not None})
        assert done.returncode == 0, done.stdout + done.stderr
        self.sealed = paths
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
        return result


def refused(done: Done, *words: str) -> None:
    """It did not succeed, no shell ran, and the words were said."""
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode != 0, said
    assert "uid=" not in said
    for word in words:
        assert word in said
