"""The graders' sandbox: warm before its first comparison, or one clear line."""

from __future__ import annotations

import asyncio

import pytest

from rstar_core.answers import warm
from rstar_core.errors import UserError


async def _compare() -> None:
    async with warm.GraderSandbox() as sandbox:
        await sandbox.run([], "print('equal')")


def test_a_warm_up_that_fails_is_refused_instead_of_leaving_every_comparison_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warm, "WARM_UP", ("pass", "raise ValueError('no such library')", "pass"))
    with pytest.raises(UserError, match=r"the grader of answers does not start: .*no such library"):
        asyncio.run(_compare())
