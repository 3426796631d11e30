"""Splits share no problem, and a source may not be mostly bad."""

from __future__ import annotations

import pytest

from rstar_core.errors import UserError
from rstar_core.problems.filters import Entry, Rejection, check_bad_fraction, make_disjoint
from rstar_core.problems.identity import problem_id
from rstar_core.types import Problem


def entry(text: str, line: int = 1, file: str = "a.jsonl") -> Entry:
    return Entry(file, line, Problem(problem_id(text), text, "1", 0, "here", "MIT"))


def texts(entries: list[Entry]) -> list[str]:
    return [one.problem.text for one in entries]


def test_the_first_split_wins_and_order_is_kept() -> None:
    kept, duplicates = make_disjoint(
        {"benchmark": [entry("two cats"), entry("one dog")], "train": [entry("a cow"), entry("one dog", 7, "b.jsonl")]}
    )
    assert texts(kept["benchmark"]) == ["two cats", "one dog"]
    assert texts(kept["train"]) == ["a cow"]
    original = problem_id("one dog")
    assert [one.rejection for one in duplicates] == [
        Rejection("b.jsonl", 7, f"duplicate of problem {original} in benchmark")
    ]


@pytest.mark.parametrize("other", ["One dog", "one   dog", "one dog.", "\N{FULLWIDTH LATIN SMALL LETTER O}ne dog"])
def test_layout_does_not_make_another_problem(other: str) -> None:
    kept, duplicates = make_disjoint({"train": [entry("one dog"), entry(other, 2)]})
    assert (texts(kept["train"]), len(duplicates)) == (["one dog"], 1)


def test_other_numbers_make_another_problem() -> None:
    kept, duplicates = make_disjoint({"train": [entry("What is 2 + 3?"), entry("What is 2 + 4?", 2)]})
    assert (len(kept["train"]), duplicates) == (2, [])


def test_bad_rows_up_to_the_limit_are_accepted() -> None:
    check_bad_fraction("a.jsonl", 99, [Rejection("a.jsonl", 3, "no answer")], 0.01)


def test_more_bad_rows_are_one_line_that_names_the_first() -> None:
    with pytest.raises(UserError) as error:
        check_bad_fraction("a.jsonl", 98, [Rejection("a.jsonl", 3, "no answer")], 0.01)
    assert str(error.value) == (
        "a.jsonl: 1 of 99 rows are bad, ingest.max_bad_fraction allows 1.00%; the first is line 3: no answer"
    )


def test_no_rows_at_all_is_an_error_whatever_the_limit() -> None:
    with pytest.raises(UserError, match="holds no rows"):
        check_bad_fraction("a.jsonl", 0, [], 1.0)
