"""Steps that go on from their parent's state: the same results as from the start, whatever is alive."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from rstar_core.errors import UserError
from rstar_core.sandbox import server
from rstar_core.sandbox.base import Status
from rstar_core.sandbox.server import LIBRARIES
from rstar_core.sandbox.snapshots import SnapshotBudget
from tests.unit.sandbox.shell import (
    EVERY_SNAPSHOT,
    LIMITS,
    NO_SNAPSHOTS,
    Shell,
    descendants,
    open_descriptors,
    open_shell,
)

SLOW = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\nx = 1"
ROOMY = LIMITS.model_copy(update={"max_output_chars": 4000, "wall_seconds": 20.0})
STEPS = (
    "import random, numpy\nx = [random.random(), numpy.random.rand()]\nprint(x)",
    "import sympy\nd = sympy.Dummy()\nprint(d, sympy.solve('t**2 - 2'))",
    "s = set('random words in a set'.split())\nprint(s, random.Random(1).random(), x)",
    "x.append(len(x))\nprint(x, random.random(), numpy.random.rand(), hash('a'))",
)

pytestmark = pytest.mark.slow  # each starts servers of its own


@pytest.fixture
def fresh() -> Iterator[Shell]:
    with open_shell(ROOMY, 1, EVERY_SNAPSHOT) as shell:
        yield shell


def outputs(shell: Shell) -> list[str]:
    return [shell.run(code, *STEPS[:depth]).stdout for depth, code in enumerate(STEPS)]


def test_a_parent_is_not_run_again(fresh: Shell) -> None:
    assert fresh.run(SLOW).cpu_seconds > 0.4
    outcome = fresh.run("x += 1\nprint(x)", SLOW)
    assert outcome.stdout == "2\n" and outcome.cpu_seconds < 0.3


def test_siblings_do_not_see_each_other(fresh: Shell) -> None:
    fresh.run("x = []")
    assert [fresh.run(f"x.append({n})\nprint(x)", "x = []").stdout for n in range(3)] == ["[0]\n", "[1]\n", "[2]\n"]


PIPE = "import os\nr, w = os.pipe()\nx = 1"
FROM_PIPE = "os.write(w, b'ab')\nprint(os.read(r, 1))"  # what stays in it would be the next one's
FILE = "import os\nf = open(os.__file__)\nf.readline()\nx = 1"
FROM_FILE = "print(f.readline())"


@pytest.mark.parametrize(("parent", "step"), [(PIPE, FROM_PIPE), (FILE, FROM_FILE)])
def test_siblings_share_no_pipe_and_no_place_in_a_file(fresh: Shell, parent: str, step: str) -> None:
    """Each has its own of them, as if the parent had been run anew; then the parent is not kept."""
    with open_shell(ROOMY, 1, NO_SNAPSHOTS) as other:
        alone = other.run(step, parent)
    assert alone.status is Status.OK
    fresh.run(parent)
    assert [fresh.run(step, parent).stdout for _ in range(3)] == [alone.stdout] * 3


def test_a_step_has_no_memory_to_share(fresh: Shell) -> None:
    shared = fresh.run("import mmap\nmmap.mmap(-1, 4096)")
    assert shared.raised and shared.raised.type == "PermissionError"
    own = fresh.run(
        "m = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\nm[0] = 7\nprint(m[0])", "import mmap"
    )
    assert own.stdout == "7\n"


def test_the_memory_of_a_snapshot_is_what_it_has_written(fresh: Shell) -> None:
    fresh.run("import numpy\nx = numpy.ones(8 << 20)")  # 64 MiB, in huge pages if they were allowed
    (kept,) = fresh.sandbox._snapshots._live.values()
    assert 64 <= kept.mib < 90


@pytest.mark.parametrize("budget", [SnapshotBudget(1, 1024, 0), SnapshotBudget(9, 1, 0), NO_SNAPSHOTS])
def test_results_do_not_depend_on_what_is_alive(budget: SnapshotBudget) -> None:
    with (
        open_shell(ROOMY, 1, EVERY_SNAPSHOT, LIBRARIES) as one,
        open_shell(ROOMY, 1, budget, LIBRARIES) as other,
    ):
        assert outputs(other) == outputs(one)
        assert other.sandbox.num_snapshots <= budget.max_count


def test_the_oldest_go_first() -> None:
    with open_shell(ROOMY, 1, SnapshotBudget(2, 1024, 0)) as shell:
        for code in (SLOW, "y = 1", "z = 1"):
            shell.run(code)
        assert shell.sandbox.num_snapshots == 2
        started = time.monotonic()
        assert shell.run("print(x)", SLOW).stdout == "1\n"
        assert time.monotonic() - started > 0.4


def test_a_snapshot_that_died_is_replayed(fresh: Shell) -> None:
    fresh.run("x = 1")
    (server_pid,) = fresh.sandbox.server_pids
    os.kill(max(descendants(server_pid)), signal.SIGKILL)
    assert [fresh.run("print(x)", "x = 1").stdout for _ in range(3)] == ["1\n"] * 3


def test_a_cheap_state_is_not_kept() -> None:
    with open_shell(ROOMY, 1, SnapshotBudget(128, 1024, 0.2)) as shell:
        shell.run("x = 1")
        assert shell.sandbox.num_snapshots == 0
        shell.run(SLOW)
        assert shell.sandbox.num_snapshots == 1


def test_each_step_has_its_own_processor_time(fresh: Shell) -> None:
    slow = [SLOW.replace("x = 1", f"x = {n}") for n in range(4)]
    assert fresh.run("print(x)", *slow).stdout == "3\n"


def test_a_parent_that_does_not_branch_costs_its_children_only(fresh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BRANCH_SECONDS", 2.0)
    spoilt = "import sys\nfor n, m in list(sys.modules.items()):\n    if n.endswith('sandbox.child'): m._branch = None"
    fresh.run(spoilt)
    assert fresh.run("print(1)", spoilt).status in (Status.KILLED, Status.OK)
    assert fresh.run("print(2)").stdout == "2\n"


def test_a_process_that_clones_on_its_own_is_ended(fresh: Shell) -> None:
    outcome = fresh.run("import ctypes\nc = ctypes.CDLL(None)\nwhile True: c.syscall(56, 0x8011, 0, 0, 0, 0)", "x = 1")
    assert (outcome.status, outcome.error) == (Status.KILLED, "it tried to fork 20 times")


def test_a_branch_far_down_takes_a_large_source(fresh: Shell) -> None:
    parents = [f"x = '{'a' * 400_000}{n}'" for n in range(4)]
    for depth, code in enumerate(parents):
        assert fresh.run(code, *parents[:depth]).status is Status.OK
    assert fresh.run(f"print(x[-1], len('{'b' * 400_000}'))", *parents).stdout == "3 400000\n"


def test_snapshots_give_their_descriptors_back() -> None:
    with open_shell(num_servers=1, budget=SnapshotBudget(4, 1024, 0)) as shell:
        counts = []
        for number in range(40):
            shell.run(f"x = {number}")
            counts.append(open_descriptors())
    assert max(counts[10:]) == min(counts[10:])


def test_a_budget_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTAR_SANDBOX_SNAPSHOTS", "many")
    with pytest.raises(UserError, match=r"RSTAR_SANDBOX_SNAPSHOTS.*'many'"):
        SnapshotBudget.from_environment()
