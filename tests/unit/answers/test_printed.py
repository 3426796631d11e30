"""What programs print, read into LaTeX by a closed list of names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.answers.characters import in_latex, with_backslashes
from rstar_core.answers.printed import as_latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("3*sqrt(7)/2", r"\frac{3\cdot \sqrt{7}}{2}"),
        ("x**2 - 5", "x^{2}-5"),
        ("2**-3", "2^{-3}"),
        ("-x**2/3 + C", r"-\frac{x^{2}}{3}+C"),
        ("Fraction(1, 3)**2", r"(\frac{1}{3})^{2}"),
        ("3pi/4", r"\frac{3\pi}{4}"),
        ("cos(2t)", r"\cos(2t)"),
        ("log(8, 2)", r"\log_{2}(8)"),
        ("np.sqrt(5)", r"\sqrt{5}"),
        ("Interval(1, oo)", r"[1,\infty)"),
        ("(1 < x) & (x <= 4)", r"1<x\le 4"),
        ("(x < 1) | (x > 4)", r"x<1\text{ or }x>4"),
        ("{x: 3, y: -1}", "x=3,y=-1"),
        ("[{x: 3}]", "x=3"),
        ("{1/2, 3}", r"\{\frac{1}{2},3\}"),
        ("Matrix([1, 2])", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("Sum(k**2, (k, 1, n))", r"(\sum_{k=1}^{n}(k^{2}))"),
        ("(3+4j)", "(3+4i)"),
        ("2 - I", "2-i"),
        ("C1*exp(-x)", r"C_{1}\cdot e^{-x}"),
        ("2*(x + 1)!", r"2\cdot (x+1)!"),
        ("x**2^3", "x^{2^{3}}"),
        ("2*theta_w", r"2\cdot \theta_{w}"),
        ("alpha_12 - x_n", r"\alpha_{12}-x_{n}"),
    ],
)
def test_read(text: str, latex: str) -> None:
    assert as_latex(text) == latex


@pytest.mark.parametrize(
    "text",
    ["AB", "2xy", "x^2+1", "(1,2)", "[1,2]", "I", "E", "1/2x*3", "foo(2*x)", "two * three", "3 4*x", "a*b)", "(((((",
     "__import__('os')*1", "lambda: 1*2", "x.real*2", "**", "2*" * 300, "(" * 40 + "2*x" + ")" * 40, "Matrix(2*x)",
     "log()*2", "sin(1, 2)*3", "{1: 2, 3}*2", r"\frac{1}{2}*"],
)  # fmt: skip
def test_left_as_it_is(text: str) -> None:
    assert as_latex(text) == text


@given(st.text(alphabet="0123456789xyIE+-*/^!()[]{},:=<>&|. \\πsqrtpi", max_size=60))
def test_any_text_is_taken(text: str) -> None:
    assert isinstance(as_latex(text), str)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["2*" * 199 + "2", "(" * 199 + "*" + ")" * 199, "x**" * 130 + "x", "2" + "!" * 300 + "*1"]
)
def test_hostile_text_comes_to_an_end(text: str) -> None:
    assert isinstance(as_latex(text), str)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("√13", r"\sqrt{13}"),
        ("2√(x+1)", r"2\sqrt{x+1}"),
        ("x²", "x^{2}"),
        ("x⁻¹²", "x^{-12}"),
        ("2½", r"2\frac{1}{2}"),
        ("90°", r"90^{\circ}"),
        ("5−3", "5-3"),
        ("३", "3"),
        ("5\u200b", "5"),
        ("plain", "plain"),
    ],
)
def test_unicode(text: str, latex: str) -> None:
    assert in_latex(text) == latex


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("\frac{1}{2}", r"\frac{1}{2}"),
        ("5\text{ cm}", r"5\text{ cm}"),
        ("rac{1}{2}", r"\frac{1}{2}"),
        ("frac{1}{2}", r"\frac{1}{2}"),
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        (r"\begin{matrix}a\\b\end{matrix}", r"\begin{matrix}a\\b\end{matrix}"),
        ("a\tb", "a\tb"),
        ("track{1}", "track{1}"),
    ],
)
def test_lost_backslashes(text: str, repaired: str) -> None:
    assert with_backslashes(text) == repaired
