"""The tables, and the file that they are made from."""

from __future__ import annotations

from pathlib import Path

from figures import figures

from benchmarks import chart, report
from benchmarks.result import Run
from benchmarks.schedule import Results, turns
from benchmarks.tools.catalog import FLOORS, TOOLS


def run() -> Run:
    """One that measured one operation of three tools."""
    results = Results("W3", "small files", 30_000, 31_000_000)
    results.samples = {
        "sedai": {
            "nothing": [figures(wall=1.5, client_cpu=1.0, server_cpu=0.5, largest_bytes=30_000_000, background=2.0)]
        },
        "rsync": {"nothing": [figures(wall=3.0, sent=1_000_000, foreign=0.1)]},
        "cp -al": {"nothing": [figures(wall=0.5)]},
    }
    results.space = {"sedai": 5_000_000}
    results.failures = {"restic": "first: no"}
    made = Run("run.py --quick", 0.1, 3, "today", {"cores": "2"}, {"rsync": "3.5.0"}, {"borg": "no package"})
    made.workloads["W3"] = results
    return made


def test_the_tables_say_what_was_measured() -> None:
    text = report.markdown(run())
    for line in (
        "30,000 files, 31 MB. Others used 0% of the machine's CPU time (median), at most 10%.",
        "| sedai | 1.50 |",
        "| nothing changed | 0.50 x rsync | 3.00 x cp -al |",
        "| sedai | 1.0 + 0.5 |",
        "Left out: borg: no package",
        "Failed: restic: first: no",
        "| W3 | nothing | at most 0.5 x time of rsync, the best peer | 0.50 | yes |",
        "In the background: sedai goes on for 2.0 s after nothing changed.",
    ):
        assert line in text.splitlines()
    rows = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert rows and set(rows) <= {3, 4, 6}


def test_a_run_can_be_read_again(tmp_path: Path) -> None:
    made = run()
    made.write(tmp_path / "results.json")
    assert Run.read(tmp_path / "results.json") == made


def test_the_picture_shows_tools_and_floor() -> None:
    [panel] = chart.chart(run())["panels"]
    assert panel["bars"].keys() == {"sedai", "rsync"}
    place = panel["operations"].index("nothing changed")
    assert panel["bars"]["rsync"][place] == 3.0
    assert panel["floor"][place] == 0.5


def test_a_run_without_anything_in_memory_says_so() -> None:
    made = run()
    made.machine["caches"] = "dropped before each operation"
    warm, cold = (panel["title"] for panel in chart.chart(run(), made)["panels"])
    assert cold == warm.replace("3 rounds)", "3 rounds; caches dropped before each operation)") != warm
    assert "cores 2, caches dropped before each operation" in report.markdown(made)


def test_no_name_breaks_a_table() -> None:
    assert all("|" not in name and "," not in name for name in TOOLS)
    assert TOOLS.keys() > FLOORS


def test_each_tool_comes_first_once() -> None:
    names = ["a", "b", "c"]
    assert [turns(names, turn) for turn in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip
    assert turns([], 1) == []
