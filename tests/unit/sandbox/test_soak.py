"""Many runs, some hostile: no wrong result, and nothing grows. Full size: ``RSTAR_SOAK_RUNS`` (10,000 and more)."""

from __future__ import annotations

import asyncio
import os
from itertools import count

import pytest

from rstar_core.sandbox.server import LIBRARIES
from rstar_core.sandbox.snapshots import SnapshotBudget
from tests.unit.sandbox.aftermath import resident_mib
from tests.unit.sandbox.shell import LIMITS, Shell, comes_true, descendants, open_descriptors, open_shell

NUM_RUNS = int(os.environ.get("RSTAR_SOAK_RUNS", "500"))
NUM_AT_ONCE = 8
BUDGET = SnapshotBudget(32, 256, 0.0)
NUM_SERVERS = 2
NUM_LEFT = 2 * NUM_SERVERS + BUDGET.max_count  # each server is two processes
HOSTILE = (
    "import os\nos._exit(0)",
    "import ctypes\nctypes.string_at(0)",
    "import os\nos.fork()",
    "import os\nos.write(3, b'\\0\\0\\0\\2[]')",
    "import builtins\nbuiltins.LEAK = builtins.sum = None",
    "x = bytearray(10**10)",
)


def steps_of(number: int) -> tuple[list[list[str]], list[str | None]]:
    """A small tree, one run in five hostile, and what each run has to print; None for hostile ones."""
    root = f"x = {number}\nprint(x)"
    paths = [
        [root],
        [root, "print(x + 1, sum([x]))"],
        [root, "x *= 2\nprint(x)"],
        [root, "x *= 2\nprint(x)", "print(x)"],
    ]
    right = [f"{number}\n", f"{number + 1} {number}\n", f"{2 * number}\n", f"{2 * number}\n"]
    hostile = HOSTILE[number % len(HOSTILE)]
    return [*paths, [root, hostile]], [*right, None]


async def soak(shell: Shell, num_runs: int) -> list[str]:
    """The wrong results."""
    numbers, wrong = count(), []

    async def one_after_another() -> None:
        while (number := next(numbers)) * 5 < num_runs:
            paths, right = steps_of(number)
            for path, text in zip(paths, right, strict=True):
                outcome = await shell.sandbox.run(path[:-1], path[-1])
                if text is not None and outcome.stdout != text:
                    wrong.append(f"{path}: {outcome}")

    await asyncio.gather(*(one_after_another() for _ in range(NUM_AT_ONCE)))
    return wrong


@pytest.mark.slow
def test_nothing_grows_and_no_result_is_wrong() -> None:
    with open_shell(LIMITS.model_copy(update={"wall_seconds": 30.0}), NUM_SERVERS, BUDGET, LIBRARIES) as shell:
        assert shell.runner.run(soak(shell, 300)) == []
        assert comes_true(lambda: num_processes(shell) == NUM_LEFT)
        descriptors, mib = open_descriptors(), resident_mib()
        assert shell.runner.run(soak(shell, NUM_RUNS)) == []
        assert comes_true(lambda: num_processes(shell) == NUM_LEFT)  # what was pushed out may still be ending
        assert open_descriptors() == descriptors
        assert resident_mib() - mib < 4


def num_processes(shell: Shell) -> int:
    return len(set().union(*map(descendants, shell.sandbox.server_pids)))
