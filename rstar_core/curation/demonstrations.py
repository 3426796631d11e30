"""Demonstrations whose programs were run and print the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rstar_core.answers.equivalence import Grader, Verdict
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import SandboxLimits
from rstar_core.cot.grammar import answer_step
from rstar_core.progress import Progress
from rstar_core.sandbox.base import Sandbox, Status
from rstar_core.sandbox.load import open_sandbox
from rstar_core.types import DEMONSTRATION, Demonstration, Problem, SftExample, Step, StepKind


@dataclass(frozen=True, slots=True)
class Checked:
    """A demonstration after its program was run: an example, or why it is none."""

    problem: Problem
    example: SftExample | None
    doubt: str = ""


async def check_demonstrations(
    demonstrations: Sequence[Demonstration], limits: SandboxLimits
) -> tuple[list[Checked], str]:
    """Every demonstration, run; in their order. And the isolation that they ran under, empty if none ran."""
    if not demonstrations:
        return [], ""
    progress = Progress("demonstrations", len(demonstrations), "programs")
    async with open_sandbox(limits) as box, GraderSandbox() as graders:
        grader = Grader(graders)

        async def work(demonstration: Demonstration) -> Checked:
            checked = await check(demonstration, box, grader)
            progress.advance()
            return checked

        return await asyncio.gather(*map(work, demonstrations)), box.level


async def check(demonstration: Demonstration, box: Sandbox, grader: Grader) -> Checked:
    """The demonstration as an example, if what its last step prints is the answer."""
    problem, code = demonstration.problem, demonstration.code_steps
    last = await box.run(code[:-1], code[-1], problem.id)
    if last.status is not Status.OK:
        return Checked(problem, None, last.error or str(last.status))
    if await grader.verdict(problem.answer, last.stdout.strip(), problem.allowed) is not Verdict.EQUAL:
        return Checked(problem, None, f"prints {last.stdout.strip()!r}, the answer is {problem.answer!r}")
    # Most programs print at their end alone, so most earlier steps need no run of their own.
    earlier = [
        Step(StepKind.CODE, body, (await box.run(code[:number], body, problem.id)).stdout if "print" in body else "")
        for number, body in enumerate(code[:-1])
    ]
    steps = (*earlier, Step(StepKind.CODE_END, code[-1], last.stdout), answer_step(problem.answer))
    return Checked(problem, SftExample(problem.question, steps, DEMONSTRATION, 1.0))
