"""Code that imports nothing runs in a bare process, the rest beside the libraries; isolation is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.sandbox.tiers import TieredSandbox
from tests.unit.sandbox.shell import LIMITS, NO_SNAPSHOTS


def run_all(*runs: tuple[Sequence[str], str]) -> tuple[list[Outcome], list[str]]:
    """The outcomes, and the levels of both sandboxes where they started."""

    async def work() -> tuple[list[Outcome], list[str]]:
        bare = ForkSandbox(LIMITS, 1, NO_SNAPSHOTS, libraries=())
        equipped = ForkSandbox(LIMITS, 1, NO_SNAPSHOTS)
        async with TieredSandbox(bare, equipped) as box:
            outcomes = [await box.run(*run) for run in runs]
            return outcomes, [one.level for one in (bare, equipped) if hasattr(one, "_servers")]

    return asyncio.run(work())


def test_code_without_an_import_starts_no_libraries() -> None:
    (outcome,), levels = run_all((["n = 2"], "n = n * 3\nprint(n)"))
    assert (outcome.status, outcome.stdout, len(levels)) == (Status.OK, "6\n", 1)


def test_an_import_in_an_ancestor_is_enough_for_libraries() -> None:
    (outcome,), levels = run_all((["from sympy import sqrt"], "print(sqrt(8))"))
    assert (outcome.status, outcome.stdout) == (Status.OK, "2*sqrt(2)\n")
    assert len(levels) == 2 and levels[0] == levels[1], "isolated alike"


def test_a_bare_process_has_no_more_of_the_machine_than_the_other() -> None:
    outcomes, _ = run_all(([], "open('/etc/passwd')"), ([], "import os\nos.listdir('/')\nopen('/etc/passwd')"))
    assert [outcome.status for outcome in outcomes] == [Status.ERROR, Status.ERROR]
