"""A grader for synchronous tests: one event loop kept open over many calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rstar_core.answers.equivalence import Ruling, equivalent
from rstar_core.answers.warm import GraderSandbox


@dataclass(frozen=True)
class Bench:
    runner: asyncio.Runner
    sandbox: GraderSandbox

    def ruling(self, gold: str, answer: str, tolerance: Fraction | None = None) -> Ruling:
        return self.runner.run(equivalent(gold, answer, self.sandbox, tolerance))

    def rulings(self, pairs: Sequence[tuple[str, str]]) -> list[Ruling]:
        async def judge_all() -> list[Ruling]:
            return await asyncio.gather(*(equivalent(*pair, self.sandbox) for pair in pairs))

        return self.runner.run(judge_all())
