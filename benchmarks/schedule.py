"""The order of a run: every tool takes its turn at each step, on the same state of the data."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.data.workload import Workload
from benchmarks.lab import Lab, remove
from benchmarks.measure import Command, Figures, OperationFailedError, await_idle, measure, run
from benchmarks.tools.tool import Operation, Tool

T = TypeVar("T")
GENERATIONS = 10
# The first backup and four pairs of a changed and an unchanged one make nine generations.
MOST_ROUNDS = 4
_NEED_TEN = frozenset({Operation.SPACE, Operation.VERIFY_TEN, Operation.PRUNE})
# Tools distrust a file that is as young as their own look at it, some by whole seconds.
_AGE_SECONDS = 1.1


@dataclass
class Results:
    """What one workload gave: ``samples`` by tool and operation; the bytes on disk of ten generations by tool."""

    workload: str
    title: str
    files: int = 0
    bytes: int = 0
    samples: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    space: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def turns(tools: Sequence[T], turn: int) -> list[T]:
    """``tools`` in the order of this turn: each one comes first once."""
    begin = turn % len(tools) if tools else 0
    return [*tools[begin:], *tools[:begin]]


class Course:
    """One workload with all its tools, from empty stores to the pruning of ten generations."""

    def __init__(self, lab: Lab, workload: Workload, tools: Iterable[type[Tool]], *, cold: bool = False) -> None:
        """``cold``: nothing that is measured begins with anything of a file in memory."""
        self._lab = lab
        self._cold = cold
        self._workload = workload
        self._source = lab.on_client("source")
        # rsnapshot's side of the server comes and reads it.
        self._source.chmod(0o755)
        self._target = lab.client / "restored"
        self._tools = [tool(lab, self._source) for tool in tools]
        self._steps = 0
        self._generations = 0
        self.results = Results(workload.key, workload.title)

    def carry_out(self, operations: Collection[Operation], rounds: int) -> Results:
        """Measure each of ``operations`` ``rounds`` times, after a first backup in any case."""
        self._say("making the data")
        self._workload.create(self._source)
        self.results.files, self.results.bytes = _count(self._source)
        for tool in self._tools:
            tool.fresh()
        time.sleep(_AGE_SECONDS)
        repeated = {operation: rounds if operation in operations else 0 for operation in Operation}
        for turn in range(max(1, repeated[Operation.FIRST])):
            self._each(Operation.FIRST, turn)
        self._generations = 1
        for turn in range(repeated[Operation.VERIFY_ONE]):
            self._each(Operation.VERIFY_ONE, turn)
        for turn in range(max(repeated[Operation.CHANGED], repeated[Operation.NOTHING])):
            self._change()
            self._each(Operation.CHANGED, turn)
            self._each(Operation.NOTHING, turn)
            self._generations += 2
        while _NEED_TEN & set(operations) and self._generations < GENERATIONS:
            self._change()
            self._each(Operation.CHANGED, self._generations, measured=False)
            self._generations += 1
        if Operation.SPACE in operations:
            self.results.space = {
                tool.name: _on_disk(tool.store) for tool in self._tools if Operation.SPACE in tool.operations
            }
        for operation in (Operation.VERIFY_TEN, Operation.RESTORE, Operation.PRUNE):
            for turn in range(repeated[operation]):
                self._each(operation, turn)
        for path in (*(tool.store for tool in self._tools), self._source):
            remove(path)
        return self.results

    def _each(self, operation: Operation, turn: int, *, measured: bool = True) -> None:
        for tool in turns(self._tools, turn):
            if operation not in tool.operations or (tool.floor and not measured):
                continue
            try:
                self._one(tool, operation, turn, measured=measured)
            except OperationFailedError as error:
                self._say(f"{tool.name}: {operation} FAILED: {error}")
                # The directory has another name each time, and goes.
                self.results.failures[tool.name] = f"{operation}: {error}".replace(f"{self._lab.base}/", "")
                self._tools.remove(tool)
                remove(tool.store)

    def _one(self, tool: Tool, operation: Operation, turn: int, *, measured: bool) -> None:
        if operation is Operation.FIRST and turn > 0:
            tool.fresh()
        tool.prepare(operation)
        await_idle(self._lab)
        commands = tool.commands(operation, self._target)
        if not measured:
            for command in commands:
                run(self._lab, command)
            return
        figures = measure(self._lab, commands, cold=self._cold)
        self.results.samples.setdefault(tool.name, {}).setdefault(operation, []).append(figures)
        self._say(f"{operation} {turn + 1}: {tool.name} {figures.wall:.2f} s")
        if operation is Operation.RESTORE:
            if turn == 0 and not tool.floor:
                _compare(self._lab, self._source, tool.restored(self._target))
            remove(self._target)

    def _change(self) -> None:
        self._steps += 1
        self._workload.change(self._source, self._steps)
        time.sleep(_AGE_SECONDS)

    def _say(self, words: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.results.workload}: {words}", file=sys.stderr, flush=True)


def _compare(lab: Lab, source: Path, restored: Path) -> None:
    """Whether a restore brought back what was backed up.

    Raises:
        OperationFailedError: it did not.
    """
    run(lab, Command(("diff", "--recursive", "--brief", "--no-dereference", str(source), str(restored))))


def _count(root: Path) -> tuple[int, int]:
    """How many regular files there are below ``root``, and their bytes."""
    sizes = [path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return len(sizes), sum(sizes)


def _on_disk(path: Path) -> int:
    """Bytes of disk that a tree takes, each inode once."""
    done = subprocess.run(["du", "--summarize", "--block-size=1", path], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])
