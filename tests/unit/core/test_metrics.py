"""Figures for Prometheus: what node_exporter would read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from server_samples import DAY, NOW, WELL
from status_samples import runs

from sedai.client import metrics as of_client
from sedai.core import metrics
from sedai.core.errors import ConfigError
from sedai.server import metrics as of_server


def read(path: Path) -> dict[str, float]:
    """The lines of the file that are figures."""
    lines = (line.rsplit(" ", 1) for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_of_the_client(tmp_path: Path) -> None:
    path = tmp_path / "sedai.prom"
    records = runs()
    metrics.write(of_client.samples("laptop", records, 2), path)
    found = read(path)
    backup = next(run for run in reversed(records) if run["program"] == "backup")
    of = '{client="laptop",program="backup"}'
    assert found[f"sedai_last_success_timestamp_seconds{of}"] == pytest.approx(backup["ended"])
    assert found[f"sedai_last_duration_seconds{of}"] == pytest.approx(backup["ended"] - backup["started"])
    assert found[f"sedai_last_exit_code{of}"] == 0
    assert found['sedai_backup_bytes{client="laptop"}'] == backup["bytes"]
    assert found['sedai_alerts_waiting{client="laptop"}'] == 2
    assert 'sedai_last_exit_code{client="laptop",program="restore_drill"}' not in found
    assert "# TYPE sedai_findings gauge" in path.read_text()


def test_a_failure_leaves_the_last_success_where_it_was() -> None:
    failed = {"program": "backup", "started": 10.0, "ended": 20.0, "exit": 3, "lines": ["no route"]}
    found = {sample.name: sample.value for sample in of_client.samples("laptop", [*runs(), failed], 0)
             if sample.labels.get("program") == "backup"}  # fmt: skip
    assert found["sedai_last_run_timestamp_seconds"] == 20.0
    assert found["sedai_last_success_timestamp_seconds"] > 20.0
    assert (found["sedai_last_exit_code"], found["sedai_findings"]) == (3, 0)


def test_a_machine_that_did_nothing_yet() -> None:
    assert [sample.name for sample in of_client.samples("laptop", [], 0)] == ["sedai_alerts_waiting"]


def test_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "sedai.prom"
    metrics.write(of_server.samples(WELL), path)
    found = read(path)
    assert found['sedai_generations{client="laptop"}'] == 5
    assert found['sedai_generations{client="desk"}'] == 0
    assert found['sedai_newest_generation_timestamp_seconds{client="laptop"}'] == pytest.approx(NOW - DAY + 20 * 3600)
    assert found['sedai_watch_findings{client="laptop"}'] == found['sedai_watch_findings{client=""}'] == 0
    assert found["sedai_store_free_bytes"] == 40 << 30
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metrics can't be written to"):
        metrics.write([], tmp_path / "nowhere" / "sedai.prom")
    for wrong in ("sedai.prom", "/var/lib/sedai.txt"):
        with pytest.raises(ValueError, match=r"must be an absolute path that ends with \.prom"):
            metrics.check_path(Path(wrong))
    metrics.check_path(None)


FILES = Path(__file__).parents[3] / "files"


@pytest.mark.parametrize("file", ["grafana/sedai.json", "prometheus/sedai.rules.yml"])
def test_what_is_shown_and_judged_is_told_by_somebody(file: str) -> None:
    told = {sample.name for sample in (*of_client.samples("laptop", runs(), 0), *of_server.samples(WELL))}
    used = set(re.findall(r"sedai_[a-z_]+", (FILES / file).read_text(encoding="utf-8")))
    assert len(used) >= 5
    assert used <= told


def test_the_dashboard_s_panels_do_not_lie_on_each_other() -> None:
    panels = json.loads((FILES / "grafana/sedai.json").read_text(encoding="utf-8"))["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(panels) > 10 and len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
