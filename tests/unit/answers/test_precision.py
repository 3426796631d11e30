"""A tolerance comes from the problem, or there is none."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rstar_core.answers.equivalence import Rule, Verdict, cheap_ruling
from rstar_core.answers.precision import given_tolerance, stated_tolerance
from tests.unit.answers.bench import Bench


@pytest.mark.parametrize(
    ("text", "answer", "tolerance"),
    [
        ("Give your answer to two decimal places.", "3.14", Fraction(1, 200)),
        ("Round to 2 decimals.", "3.1", Fraction(1, 200)),
        ("Express it to the nearest tenth.", "4.5", Fraction(1, 20)),
        ("Find it to the nearest ten-thousandth.", "0.0203", Fraction(1, 20000)),
        ("How much, to the nearest cent?", r"\$4.50", Fraction(1, 200)),
        ("Answer to three significant figures.", "12.3", Fraction(1, 20)),
        ("Answer to 3 significant figures.", "0.0123", Fraction(1, 20000)),
        ("Round to one decimal place.", r"12.5\%", Fraction(1, 20)),
        ("Round to one decimal place.", r"12.5\text{ cm}", Fraction(1, 20)),
        ("Round to two decimals.", "3.142", None),  # the gold has more
        ("Round to two decimals.", "3", None),
        ("Round to two decimals.", r"\pi", None),
        ("Round to two decimals.", "(1.25, 2.50)", None),
        ("How much, to the nearest dollar?", "5", None),
        ("A price of 2 dollars and 50 cents rises by 1.25.", "3.75", None),
        ("What is pi?", "3.14", None),
    ],
)
def test_what_a_text_states(text: str, answer: str, tolerance: Fraction | None) -> None:
    assert stated_tolerance(text, answer) == tolerance


@pytest.mark.parametrize(
    ("text", "tolerance"), [("1e-3", Fraction(1, 1000)), ("0.1,0.2", None), ("-1", None), ("", None)]
)
def test_what_a_source_gives(text: str, tolerance: Fraction | None) -> None:
    assert given_tolerance(text) == tolerance


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("3.14", "3.14159", Verdict.EQUAL),
        ("3.14", "3.145", Verdict.EQUAL),
        ("3.14", "3.1451", Verdict.DIFFERENT),
        ("3.14", r"3.1416\text{ cm}", Verdict.EQUAL),
        (r"12.5\%", "12.504", Verdict.EQUAL),
        ("3.14", r"\frac{22}{7}", Verdict.EQUAL),
        ("3.14", r"\frac{16}{5}", Verdict.DIFFERENT),
        ("(1,3.14)", "(1,3.1416)", Verdict.DIFFERENT),  # it is a single number's
    ],
)
def test_with_a_tolerance_near_is_equal(gold: str, answer: str, verdict: Verdict) -> None:
    for pair in ((gold, answer), (answer, gold)):
        ruling = cheap_ruling(*pair, Fraction(1, 200))
        assert ruling and ruling.verdict is verdict
        without = cheap_ruling(*pair)
        assert without is None or without.verdict is not Verdict.EQUAL


def test_math_verify_keeps_to_the_tolerance_too(bench: Bench) -> None:
    near = bench.ruling("1.41", r"\sqrt{2}", Fraction(1, 200))
    assert (near.verdict, near.rule) == (Verdict.EQUAL, Rule.PRECISION)
    assert bench.ruling("1.42", r"\sqrt{2}", Fraction(1, 200)).verdict is Verdict.DIFFERENT
    assert bench.ruling("1.41", r"\sqrt{2}").verdict is Verdict.DIFFERENT
