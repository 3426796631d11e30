"""The graders' sandbox: a comparison has a warm process's outcome, warm or not; or one clear line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rstar_core.answers import warm
from rstar_core.errors import UserError
from rstar_core.sandbox.base import Status

LIBRARY = "print('library')\nkinds = 0"
KNOWS_MORE = "kinds = kinds + 1"


async def run(*codes: str) -> list[str]:
    async with warm.GraderSandbox() as sandbox:
        outcomes = [await sandbox.run([LIBRARY], code) for code in codes]
    return [outcome.stdout.strip() if outcome.status is Status.OK else outcome.status for outcome in outcomes]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "WARM_UP", (LIBRARY, KNOWS_MORE, KNOWS_MORE))
    monkeypatch.setattr(warm, "NUM_COLD", 2)


@pytest.mark.parametrize("steps", [("raise ValueError('no such library')", "pass"), ("pass", "raise ValueError('no')")])
def test_what_does_not_start_is_refused_instead_of_leaving_every_comparison_undecided(
    steps: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "WARM_UP", steps)
    monkeypatch.setattr(warm, "NUM_COLD", 0)
    with pytest.raises(UserError, match=r"the grader of answers does not start: .*no"):
        asyncio.run(run("print('equal')"))


def test_a_handful_is_compared_without_a_warm_up_and_many_with_it(small: None) -> None:
    assert asyncio.run(run(*["print(kinds)"] * 4)) == ["0", "0", "2", "2"]


def test_what_a_cold_process_has_no_time_for_is_asked_again_warm(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "LIMITS", warm.LIMITS.model_copy(update={"cpu_seconds": 1}))
    long_if_cold = "while not kinds: pass\nprint(kinds)"
    assert asyncio.run(run(long_if_cold)) == ["2"]
