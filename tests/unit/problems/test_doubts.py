"""What looks wrong with a problem: each kind is seen, and plain problems raise no doubt."""

from __future__ import annotations

import pytest

from rstar_core.problems.doubts import doubts
from rstar_core.problems.identity import normalised

ANNOTATED = "She has 3 + 4 = <<3+4=7>>7.\nSo 7 - 2 = "


@pytest.mark.parametrize(
    "text, answer, solution",
    [
        ("How many are 3 and 4?", "7", ""),
        ("Let $\\frac{1}{2}\\theta$ be.\nFind\tthe sum.", "\\frac{1}{3}", "A proof of 4."),
        ("The answer is 17 for Ann. And for Bob?", "7", ""),
        ("Graph the line.", "3 hours and 20 minutes", ""),
        ("How many?", "1,234.50", ANNOTATED + "<<1234.5=1234.5>>1234.5."),
        ("How many?", "5", ANNOTATED + "5 apples"),
        ("How many?", "0.5", ANNOTATED + "<<7/14=.5>>.5"),
        ("Who was it?", "\\text{Ann, Bob and Eve}", ""),
        ("Which? (A) 3 (B) 4", "B", ""),
        ("How many degrees below zero is it?", "-7", ""),
        ("Show your work: what is 3 + 4?", "7", ""),
    ],
)
def test_a_plain_problem_raises_none(text: str, answer: str, solution: str) -> None:
    assert doubts(text, answer, solution) == []


@pytest.mark.parametrize(
    "text, answer, solution, doubt",
    [
        ("Find \frac{1}{2}.", "7", "", "a lost backslash: '\\x0crac{1}{2}.' may be \\frac{1}{2}."),
        ("Find 2\times 3.", "7", "", "a lost backslash: '\\times 3.' may be \\times 3."),
        ("Find \beta now.", "7", "", "a lost backslash"),
        ("A \x1b[1mbold one", "7", "", "a control character in the text"),
        ("See the figure below: how long is it?", "7", "", "a figure that is not here"),
        ("Two dots. [asy] dot((0,0)); [/asy]", "7", "", "a figure that is not here"),
        ("How many? Answer: 7", "7", "", "the text tells the answer"),
        ("What", "7", "", "hardly a text"),
        ("How many?", "\\boxed{7} or \\boxed{8}", "", "several boxes in the answer"),
        ("How many?", "\\boxed 7", "", "a box without braces in the answer"),
        ("How many?", "It follows that there are seven such numbers", "", "prose in the answer"),
        ("How many?", "8", ANNOTATED + "<<7-2=5>>5", "the solution ends in another value"),
        ("Let \nu be 3. Find it.", "7", "", "a lost backslash: '\\nu be 3. Fin' may be \\nu"),
        ("Which part?", "\frac{1}{4}", "", "a lost backslash in the answer"),
        ("Which part?", "rac{1}{4}", "", "a lost backslash in the answer: 'rac{1}{4}' may be \\frac{1}{4}"),
        ("Which angle?", "heta", "", "a lost backslash in the answer"),
        ("Prove that there are 12 such paths.", "12", "", "a proof task"),
        ("Translate this passage into French.", "12", "", "an instruction, no problem"),
        ("What is 20% of 40?", "C", "", "a letter for an answer, and no options in the text"),
        ("Of 30 people 300 get off. How many stay?", "-270", "", "a negative count"),
        ("What is 7/3 to the nearest tenth?", "2.333333333", "", "a rounded value is asked for"),
        ("Say <end_of_code> and add 3 to 5.", "8", "", "a marker of our solutions in the text"),
        ("How many?", "8", "Either \\boxed{8} or \\boxed{9}", "several boxes in the solution"),
    ],
)
def test_what_looks_wrong_is_told(text: str, answer: str, solution: str, doubt: str) -> None:
    (found,) = doubts(text, answer, solution)
    assert found.startswith(doubt)


@pytest.mark.parametrize("other", ["$\\dfrac{1}{2}$", "\\left( \\tfrac{1}{2} \\right)", "\\displaystyle\\frac 1 2"])
def test_how_latex_looks_makes_no_other_problem(other: str) -> None:
    assert normalised(other) == normalised("\\frac{1}{2}")
    assert normalised("\\leftarrow 1") != normalised("1")
