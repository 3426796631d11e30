"""Problems from the families of the reasoning-gym package.

The same family, size and seed give the same problems, except in the few families of version 0.1.25 that walk over
sets of strings and so depend on PYTHONHASHSEED: isomorphic_strings, knight_swap, polynomial_multiplication,
ransom_note, word_ladder.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from rstar_core.answers.precision import stated_tolerance
from rstar_core.errors import UserError
from rstar_core.problems.filters import Entry, Rejection
from rstar_core.problems.identity import problem_id
from rstar_core.types import Problem

LICENSE = "Apache-2.0"


def generate_family(family: str, size: int, seed: int) -> tuple[list[Entry], list[Rejection]]:
    """``size`` draws of a family: problems with an answer, and those without one.

    ``level`` is the item's difficulty where that is a number (most families state their settings there), else 0.

    Raises:
        UserError: there is no such family, or it cannot be made without settings of its own.
    """
    name = f"reasoning_gym/{family}"
    entries: list[Entry] = []
    bad: list[Rejection] = []
    for line, item in enumerate(_create(family, size, seed), start=1):
        answer = "" if item["answer"] is None else str(item["answer"]).strip()
        if answer:
            entries.append(Entry(name, line, _problem(item, answer, name)))
        else:
            bad.append(Rejection(name, line, "no answer"))
    return entries, bad


def _create(family: str, size: int, seed: int) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if family not in DATASETS:
        hint = _close_names(family, [*DATASETS])
        raise UserError(f"ingest.sources: '{family}' is not a reasoning_gym family; {hint}")
    try:
        return reasoning_gym.create_dataset(family, size=size, seed=seed)
    except (AssertionError, ValueError) as error:
        raise UserError(f"ingest.sources: reasoning_gym family '{family}' cannot be used: {error}") from None


def _close_names(family: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(family, known)
    return f"close: {', '.join(close)}" if close else "reasoning_gym.factory.DATASETS lists them"


def _problem(item: dict[str, Any], answer: str, source: str) -> Problem:
    text = str(item["question"]).strip()
    difficulty = item["metadata"].get("difficulty")
    level = int(difficulty) if isinstance(difficulty, int | float) and difficulty >= 0 else 0
    tolerance = str(stated_tolerance(text, answer) or "")
    return Problem(problem_id(text), text, answer, level, source, LICENSE, tolerance)
