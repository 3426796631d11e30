"""Paused children by the code that they have run: where a later step can go on without running it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rstar_core.machine import variables
from rstar_core.sandbox.process import Child
from rstar_core.sandbox.server import ForkServer

Prefix = tuple[str, ...]
PAGE_KIB = 4
PRIVATE = ("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:")


@dataclass(frozen=True, slots=True)
class SnapshotBudget:
    """How many paused children there may be, and their own memory; what took less to compute is not worth one."""

    max_count: int
    max_mib: int
    min_cpu_seconds: float = 0.01

    @classmethod
    def from_environment(cls) -> SnapshotBudget:
        """The machine's budget."""
        return cls(variables.SANDBOX_SNAPSHOTS.get(), variables.SANDBOX_SNAPSHOT_MIB.get())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``length`` is the number of steps that it has run."""

    server: ForkServer
    child: Child
    length: int
    mib: float


class Snapshots:
    """Least recently used first. Results never depend on what is here: a miss is replayed."""

    def __init__(self, budget: SnapshotBudget) -> None:
        self._budget = budget
        self._live: OrderedDict[Prefix, Snapshot] = OrderedDict()
        self._mib = 0.0

    def __len__(self) -> int:
        return len(self._live)

    def nearest(self, parents: Sequence[str]) -> Snapshot | None:
        """The snapshot of the longest prefix of ``parents`` that has one."""
        for length in range(len(parents), 0, -1):
            prefix = tuple(parents[:length])
            found = self._live.get(prefix)
            if found and found.child.is_gone:
                self.drop(prefix)
            elif found:
                self._live.move_to_end(prefix)
                return found
        return None

    def keep(self, prefix: Prefix, server: ForkServer, child: Child) -> bool:
        """Take the child in, paused; False if it is not worth it or there already is one."""
        if prefix in self._live or child.cpu_seconds < self._budget.min_cpu_seconds:
            return False
        snapshot = Snapshot(server, child, len(prefix), own_mib(child.pid))
        if self._budget.max_count < 1 or snapshot.mib > self._budget.max_mib:
            return False
        self._live[prefix] = snapshot
        self._mib += snapshot.mib
        self._evict()
        return True

    def drop(self, prefix: Prefix) -> None:
        snapshot = self._live.pop(prefix, None)
        if snapshot:
            self._mib -= snapshot.mib
            snapshot.child.kill()

    def clear(self) -> None:
        for prefix in list(self._live):
            self.drop(prefix)

    def _evict(self) -> None:
        """From the oldest on, but none that somebody is branching from and not the newest."""
        for prefix in list(self._live)[:-1]:
            if len(self._live) <= self._budget.max_count and self._mib <= self._budget.max_mib:
                return
            if not self._live[prefix].child.users:
                self.drop(prefix)


def own_mib(pid: int) -> float:
    """The memory that a child does not share, as the kernel counts it.

    Where we may not ask (without CAP_SYS_PTRACE), an upper bound: a page for each of its faults since it was forked,
    which are of one size (``confine.small_pages``).
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(PRIVATE)) / 1024
    except OSError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return int(fields[7]) * PAGE_KIB / 1024
