"""Groups the answers to one problem into classes of equal ones, for votes."""

from __future__ import annotations

from collections.abc import Sequence

from rstar_core.answers.equivalence import Grader, Verdict
from rstar_core.answers.notation import normalised


async def answer_classes(answers: Sequence[str | None], grader: Grader) -> list[int | None]:
    """For each answer the place of the first that is equal to it; None for None.

    Answers of one spelling are not compared, and a new spelling is compared with one answer of each class only, so
    there are at most (spellings x classes) comparisons. An answer that no class is surely equal to is a class of its
    own.
    """
    by_spelling: dict[str, int] = {}
    firsts: list[int] = []
    found: list[int | None] = []
    for place, answer in enumerate(answers):
        if answer is None:
            found.append(None)
            continue
        spelling = normalised(answer)
        if spelling not in by_spelling:
            by_spelling[spelling] = await _first_equal(answers, firsts, answer, grader, place)
        found.append(by_spelling[spelling])
    return found


async def _first_equal(
    answers: Sequence[str | None], firsts: list[int], answer: str, grader: Grader, place: int
) -> int:
    for first in firsts:
        if await grader.verdict(answers[first] or "", answer) is Verdict.EQUAL:
            return first
    firsts.append(place)
    return place
