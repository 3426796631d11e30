"""Splits share no problem, and a source may not be mostly bad."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rstar_core.errors import UserError
from rstar_core.problems.filters import Entry, Rejection, check_bad_fraction, make_disjoint, near_copies
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


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Compute 9-4.", "Compute 9+4."),
        ("Compute 9*4.", "Compute 9/4."),
        ("Compute -9+4.", "Compute 9+4."),
        ("Find x^2.", "Find x2."),
        ("Is a<b?", "Is a>b?"),
        ("What is 5!?", "What is 5?"),
        ("What is |x|?", "What is x?"),
    ],
)
def test_signs_of_arithmetic_make_another_problem(text: str, other: str) -> None:
    kept, duplicates = make_disjoint({"benchmark": [entry(text)], "train": [entry(other)]})
    assert (len(kept["train"]), duplicates) == (1, [])


@pytest.mark.parametrize("other", ["A well known set!", r"A well-known set.", "A WELL\N{HYPHEN}KNOWN set"])
def test_hyphens_and_exclamations_do_not(other: str) -> None:
    _, duplicates = make_disjoint({"train": [entry("A well known set."), entry(other, 2)]})
    assert len(duplicates) == 1


def test_two_spellings_of_one_answer_are_no_contradiction() -> None:
    first = entry("A half?")
    for answer, is_conflict in (("1.0", False), (r"\frac{2}{2}", False), ("2", True)):
        other = replace(first, problem=replace(first.problem, answer=answer))
        _, (duplicate,) = make_disjoint({"train": [first, other]})
        assert duplicate.is_conflict is is_conflict


def test_a_long_run_of_the_same_words_is_a_doubt_unless_many_problems_have_it() -> None:
    ask = "Express your answer as a common fraction in lowest terms."
    held_out = [entry(f"Mia has 9 red kites and gives 5 of them away today. {n}? {ask}", n) for n in (1, 2)]
    held_out.append(entry(f"What is {ask}", 3))
    near = entry("Mia has 9 red kites and gives 5 of them to me.")
    far = entry(f"How many zebras are there? {ask}")
    kept = near_copies({"benchmark": held_out, "train": [near, far]})
    assert [bool(one.doubts) for one in kept["train"]] == [True, False]
    assert held_out[0].problem.id in kept["train"][0].doubts[0]
    assert kept["benchmark"] == held_out
