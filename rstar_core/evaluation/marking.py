"""Answers and the truth -> marked answers. The searches have ended when this is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rstar_core.answers.equivalence import Grader, Verdict
from rstar_core.types import Prediction, Problem


async def marked(
    predictions: Sequence[Prediction], problems: Mapping[str, Problem], grader: Grader
) -> list[Prediction]:
    """``predictions`` with their verdicts; ``problems`` by id."""
    return await asyncio.gather(*(_marked(one, problems[one.problem_id], grader) for one in predictions))


async def _marked(prediction: Prediction, problem: Problem, grader: Grader) -> Prediction:
    if prediction.answer is None:
        return replace(prediction, verdict=Verdict.DIFFERENT)
    verdict = await grader.verdict(problem.answer, prediction.answer, problem.allowed)
    return replace(prediction, verdict=verdict)
