"""What must hold after every hostile snippet, whatever it did."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rstar_core.sandbox.base import Outcome
from rstar_core.sandbox.server import LIBRARIES
from tests.unit.sandbox.shell import (
    EVERY_SNAPSHOT,
    LIMITS,
    Shell,
    comes_true,
    descendants,
    open_descriptors,
    open_shell,
)

# A wall limit far from the others: also on a busy machine the limit that an attack is about ends it first.
ROOMY = LIMITS.model_copy(update={"max_output_chars": 4000, "wall_seconds": 4.0})
FIRST_STEP = "import sympy\nx = sympy.Symbol('x')\nroots = sympy.solve(x**2 - 4, x)"
CANARY = "import builtins, math, sympy\nprint(1 + 1, sympy.solve('x - 1'), math.sqrt(4), hasattr(builtins, 'LEAK'))"
HEALTHY = "2 [1] 2.0 False\n"
TRACES = [
    Path("/tmp", name)
    for name in (*"owned fill pwn rstar-pwned rstar-link rstar-folder rstar-node rstar.db rstar-fifo".split(),)
]
PROCESSES_PER_SERVER = 2  # its first in the namespace, and the one that waits for it
DESCRIPTORS_PER_SNAPSHOT = 2  # its channel, and itself
MAX_GROWTH_MIB = 64


@dataclass(frozen=True, slots=True)
class Arena:
    """A sandbox to attack, and how things were before."""

    shell: Shell
    canary: Path
    num_descriptors: int
    mib: float

    def attack(self, code: str) -> list[Outcome]:
        """As a step of its own and as a step in a tree, at once."""
        return self.shell.run_steps([[code], [FIRST_STEP, code]])

    def assert_unharmed(self) -> None:
        outcomes = self.shell.run_steps([[CANARY], [FIRST_STEP, CANARY]])
        assert [outcome.stdout for outcome in outcomes] == [HEALTHY] * 2
        assert comes_true(self._has_no_stranger), "a process is left"
        assert comes_true(self._has_no_open_end), "a descriptor is left"
        assert resident_mib() - self.mib < MAX_GROWTH_MIB
        assert self.canary.read_text() == "as it was"
        assert not [path for path in TRACES if path.exists() or path.is_symlink()]

    def _has_no_stranger(self) -> bool:
        """There may be fewer than expected: a snapshot that its own code killed is noticed when it is next needed."""
        pids = self.shell.sandbox.server_pids
        least = PROCESSES_PER_SERVER * len(pids)
        return least <= len(set().union(*map(descendants, pids))) <= least + self.shell.sandbox.num_snapshots

    def _has_no_open_end(self) -> bool:
        expected = self.num_descriptors + DESCRIPTORS_PER_SNAPSHOT * self.shell.sandbox.num_snapshots
        return open_descriptors() == expected


@contextmanager
def open_arena(canary: Path) -> Iterator[Arena]:
    remove_traces()
    canary.write_text("as it was")
    with open_shell(ROOMY, budget=EVERY_SNAPSHOT, libraries=LIBRARIES) as shell:
        shell.run_all(["pass"] * 8)
        snapshots = DESCRIPTORS_PER_SNAPSHOT * shell.sandbox.num_snapshots
        yield Arena(shell, canary, open_descriptors() - snapshots, resident_mib())
    remove_traces()


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def remove_traces() -> None:
    for path in TRACES:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
