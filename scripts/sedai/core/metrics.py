"""Figures for Prometheus, as a file that node_exporter's textfile collector reads.

The names follow https://prometheus.io/docs/practices/naming/: base units, and the unit at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sedai.core.errors import ConfigError


@dataclass(frozen=True)
class Sample:
    """One figure: ``name`` begins with ``sedai_``, ``words`` tell what it is, ``labels`` of what."""

    name: str
    words: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def check_path(path: Path | None) -> None:
    """Refuse a place where node_exporter would not look.

    Raises:
        ValueError: it is not absolute, or does not end with ``.prom``.
    """
    if path is not None and not (path.is_absolute() and path.suffix == ".prom"):
        raise ValueError(f"metrics_file {path} must be an absolute path that ends with .prom.")


def write(samples: Iterable[Sample], path: Path) -> None:
    """Replace ``path``, whose name ends with ``.prom``, by ``samples``.

    Raises:
        ConfigError: it can't be written.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile  # slow to import, and wanted rarely

    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for sample in samples:
        if sample.name not in gauges:
            gauges[sample.name] = Gauge(sample.name, sample.words, sorted(sample.labels), registry=registry)
        gauge = gauges[sample.name]
        (gauge.labels(**sample.labels) if sample.labels else gauge).set(sample.value)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise ConfigError(f"The metrics can't be written to {path}: {error}") from error
