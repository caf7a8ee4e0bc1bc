"""Tampering: what the server shows of each generation, held against what this client remembers and has signed.

Pure but for ``verify``. A generation that was rewritten together with its manifest and its record is found here, and one
whose record or signature has rotted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sedai.client.finding import Finding
from sedai.client.signing import Verify
from sedai.core import wire
from sedai.core.errors import IntegrityError
from sedai.core.generation import Generation, Record, parse_record

_SIGNATURE = "a signature of this client for its record"


@dataclass(frozen=True)
class Shown:
    """What the server has of one generation: the bytes of its record, and the signature; None where it has none."""

    generation: str
    record: bytes | None
    signature: bytes | None


@dataclass(frozen=True)
class Memory:
    """What this client knows by generation: SHA-256 of each manifest that it sealed, and of each record that it signed."""

    sealed: Mapping[str, str]
    signed: Mapping[str, str]


def shown(listed: Iterable[Mapping[str, Any]]) -> list[Shown] | None:
    """What the server answered to a ``list`` with signatures; None where it is an earlier version, which has none."""
    answered = list(listed)
    if not all("signature" in known for known in answered):
        return None
    return [
        Shown(str(known["generation"]), _unpacked(known["record_bytes"]), _unpacked(known["signature"]))
        for known in answered
    ]


def _unpacked(value: object) -> bytes | None:
    return wire.unpack(value) if isinstance(value, str) else None


def tampered(manifests: Mapping[str, str], sealed: Mapping[str, str]) -> list[Finding]:
    """Generations whose manifest, by SHA-256, is not the one that this client saw sealed."""
    return [
        Finding("tampered", name, "", f"manifest SHA-256 {sealed[name]} (as sealed)", sha256)
        for name, sha256 in manifests.items()
        if name in sealed and sealed[name] != sha256
    ]


def gone(sealed: Iterable[str], listed: Iterable[str]) -> str:
    """The generation that this client saw sealed last, where the server lists neither it nor any later one; else empty.

    Pruning never takes the newest. What else is not there any more it may have taken, by hand too: nobody here can tell.
    """
    *_, last = ("", *sealed)
    ours = Generation.parse(last)
    theirs = map(Generation.parse, listed)
    if ours is None or any(one is not None and one.sequence >= ours.sequence for one in theirs):
        return ""
    return last


def judge(
    generations: Sequence[Shown], manifests: Mapping[str, str], memory: Memory, verify: Verify
) -> Iterator[Finding]:
    """What was rewritten of ``generations``, which are all that the server lists.

    ``manifests``: SHA-256 of those manifests that were read; of the others counts what their record says.
    """
    records = {one.generation: record for one in generations if (record := _parse(one.record)) is not None}
    claims = {name: record.manifest_sha256 for name, record in records.items()}
    yield from tampered(claims | dict(manifests), memory.sealed)
    for one in generations:
        yield from _signature(one, memory.signed.get(one.generation), verify)
    for name, record in records.items():
        if record.generation != name:
            yield Finding("tampered", name, "", "its own record", f"that of {record.generation}")
        before = claims.get(record.previous, record.previous_manifest_sha256)
        if before != record.previous_manifest_sha256:
            yield Finding("chain", name, "", f"{record.previous} to have the manifest {record.previous_manifest_sha256}",
                          before)  # fmt: skip


def _parse(record: bytes | None) -> Record | None:
    """None where the record can't be read: the check of the generation itself says so."""
    try:
        return None if record is None else parse_record(record)
    except IntegrityError:
        return None


def _signature(one: Shown, remembered: str | None, verify: Verify) -> Iterator[Finding]:
    """``remembered``: SHA-256 of the record that this client signed, None where it knows of no signature."""
    if one.signature is None:
        if remembered is not None:
            yield Finding("signature", one.generation, "", _SIGNATURE, "none")
        return
    reason = verify(one.record or b"", one.signature)
    if reason:
        yield Finding("signature", one.generation, "", _SIGNATURE, reason)
    elif remembered is not None and hashlib.sha256(one.record or b"").hexdigest() != remembered:
        # With a true signature: somebody has this client's key.
        yield Finding("tampered", one.generation, "", f"the record that was signed, SHA-256 {remembered}",
                      "another one, signed with the same key")  # fmt: skip


@dataclass(frozen=True)
class Unsigned:
    """Generations without a signature that nobody expects to have one. ``imported``: those that another program made."""

    sealed: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()


def unsigned(generations: Iterable[Shown], memory: Memory) -> Unsigned:
    """Which have none, and were not signed by this client either."""
    without = [one for one in generations if one.signature is None and one.generation not in memory.signed]
    records = {one.generation: _parse(one.record) for one in without}
    imported = tuple(name for name, record in records.items() if record is not None and record.imported)
    return Unsigned(tuple(name for name in records if name not in imported), imported)


def not_shown(memory: Memory) -> list[Finding]:
    """What it means that the server shows no signatures at all."""
    if not memory.signed:
        return []  # it is an earlier version, and never had any
    return [Finding("signature", "", "", "signatures", "a server that shows none (an earlier version of sedai?)")]
