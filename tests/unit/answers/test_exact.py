"""Canonical forms: what they equate is equal, and what could be read in two ways has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.answers.brackets import as_collection
from rstar_core.answers.exact import as_form


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (r"\sqrt{72}", r"6\sqrt{2}"),
        (r"\frac{6}{\sqrt{3}}", r"2\sqrt{3}"),
        (r"\frac{1}{\sqrt{5}-\sqrt{2}}", r"\frac{\sqrt{5}+\sqrt{2}}{3}"),
        (r"\frac{5\pi}{6}", r"\frac{5}{6}\pi"),
        (r"\frac{1}{\pi}", r"\pi^{-1}"),
        ("(x+2)(x-2)", "x^2-4"),
        (r"\frac{1}{x}", "x^{-1}"),
        ("2x y", "2y x"),
        ("n(n+1)/2", r"\frac{n^2+n}{2}"),
        ("0x", "0"),
        ("-2^2", "-4"),
        ("5!", "120"),
        (r"\binom{6}{2}", "15"),
        (r"\frac{1}{2^{90}}", "2^{-90}"),
        ("2AB", r"AB\cdot 2"),
    ],
)
def test_one_form(text: str, other: str) -> None:
    assert as_form(text) is not None and as_form(text) == as_form(other)


@pytest.mark.parametrize(
    "text",
    ["1/2x", r"2\frac{1}{2}", "1 2", "x^10", "2^34", "f(x)", "3i", "word", "x y", "", "1/0", r"\frac{1}{x-x}", "0^0",
     r"\sqrt{-1}", r"\sqrt{x}", r"\sqrt[3]{8}", r"\frac{1}{x+1}", "x=5", "300!", "(1", "1)", "2^{x}", "--1", "x^{65}",
     "7^{2000}", r"\sin x"],
)  # fmt: skip
def test_no_form(text: str) -> None:
    assert as_form(text) is None


@given(st.fractions(max_denominator=50), st.integers(1, 60), st.fractions(max_denominator=50), st.integers(1, 60))
def test_forms_are_equal_when_the_numbers_are(a: object, m: int, b: object, n: int) -> None:
    import sympy

    first, second = as_form(rf"({a})\sqrt{{{m}}}"), as_form(rf"({b})\sqrt{{{n}}}")
    value = sympy.Rational(str(a)) * sympy.sqrt(m) - sympy.Rational(str(b)) * sympy.sqrt(n)
    assert first is not None and second is not None and (first == second) == (value == 0)


HOSTILE = ["(" * 90 + "1" + ")" * 90, "(x+1)^{64}", "((9^{64})^{64})^{64}", "(a+b+c+d)^{9}", r"\sqrt{99999989}" * 10,
           "(1+x)(1+y)" * 15, "{" * 200, r"\frac{" * 30, "9" * 190, "-" * 200]  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_comes_to_an_end(text: str) -> None:
    as_form(text)
    as_collection(f"({text},{text})")


@pytest.mark.parametrize(
    "text", ["(1,2)", "[0,1)", "1,2,3", r"\{1,\frac{1}{2}\}", "(1,2),(3,4)", r"(-\infty,3]", r"\{\}"]
)
def test_collections(text: str) -> None:
    assert as_collection(text) is not None


@pytest.mark.parametrize("text", ["(1)", "1", "(1,2", "[1,2,3)", "(1,?)", "1,,2", r"\{1,2", "", ")1,2("])
def test_no_collections(text: str) -> None:
    assert as_collection(text) is None
