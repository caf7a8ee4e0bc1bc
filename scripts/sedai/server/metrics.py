"""What the server tells Prometheus, from what the watch looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sedai.core.metrics import Sample
from sedai.server.facts import ClientFacts
from sedai.server.report import Material


def samples(material: Material) -> Iterator[Sample]:
    """The figures of one look at the store."""
    facts = material.facts
    yield Sample("sedai_watch_last_run_timestamp_seconds", "When the watch looked.", facts.now)
    counts = Counter(finding.client for finding in material.findings)
    for client in facts.clients:
        yield from _client(client)
    for name in ("", *(client.name for client in facts.clients)):
        words = "What the watch calls wrong now; of the server itself where the client is empty."
        yield Sample("sedai_watch_findings", words, counts[name], {"client": name})
        if name:
            words = "Stored things that are known to be damaged."
            yield Sample("sedai_damaged", words, material.rotten.get(name, 0), {"client": name})
    yield Sample("sedai_incidents_open", "Incidents that were mailed and are not over.", len(material.incidents))
    if facts.disk is not None:
        yield Sample("sedai_store_size_bytes", "Size of the file system of the store.", facts.disk.total)
        yield Sample("sedai_store_free_bytes", "Of it, free for the store.", facts.disk.free)
    if material.whole_since:
        words = "Every stored file was read and compared then or later."
        yield Sample("sedai_scrub_read_all_timestamp_seconds", words, material.whole_since)


def _client(client: ClientFacts) -> Iterator[Sample]:
    labels = {"client": client.name}
    yield Sample("sedai_generations", "Generations that are kept.", len(client.generations), labels)
    if client.whole:
        newest = client.whole[-1]
        words = "Time in the name of the newest generation."
        yield Sample("sedai_newest_generation_timestamp_seconds", words, newest.time, labels)
        yield Sample("sedai_newest_generation_files", "Files in it.", newest.files, labels)
        yield Sample("sedai_newest_generation_bytes", "Bytes of content in it.", newest.bytes, labels)
        yield Sample(
            "sedai_newest_generation_new_bytes", "Bytes of content that are new in it.", newest.new_bytes, labels
        )
