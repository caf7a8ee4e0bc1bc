"""The workloads by their names."""

from __future__ import annotations

from benchmarks.data.big_files import BigFiles
from benchmarks.data.linux_source import LinuxSource
from benchmarks.data.small_files import MoreSmallFiles, SmallFiles
from benchmarks.data.workload import Workload

WORKLOADS: dict[str, type[Workload]] = {
    workload.key: workload for workload in (LinuxSource, BigFiles, SmallFiles, MoreSmallFiles)
}
