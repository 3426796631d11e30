"""math-verify gets texts in which every name is one small letter, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.answers.names import in_single_letters


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("H^2", "h^2", (r"\alpha^2", "h^2")),
        ("N+1", "N-1", ("n+1", "n-1")),
        ("x^2y", "2xy", ("x^2y", "2xy")),
        (r"\pi R", r"\pi r", (r"\pi \alpha", r"\pi r")),
        (r"\sin E", "e", (r"\sin \alpha", "e")),
        (r"\log_2 8", "3", (r"\log_2 8", "3")),
        (r"\mathbb{R}", r"x\in\mathbb{R}", (r"\mathbb{R}", r"x\in\mathbb{R}")),
    ],
)
def test_renamed(first: str, second: str, named: tuple[str, str]) -> None:
    assert in_single_letters(first, second) == named


def test_names_that_differ_in_their_index_stay_apart() -> None:
    named = in_single_letters("V_{XY}", "V_{xy}")
    assert named and named[0] != named[1]


@pytest.mark.parametrize(
    "text",
    [
        "7 am",
        "5 is wrong",
        "word",
        "foo(x)",
        r"\angle A",
        "f'(x)",
        r"7\ldots",
        "2=6",
        r"\text{none}",
        "x?",
        "det(B)",
        "éx",
    ],
)
def test_a_word_is_left_to_nobody(text: str) -> None:
    assert in_single_letters(text, "x") is None
    assert in_single_letters("x", text) is None


def test_the_same_letters_in_another_order_may_be_the_same_segment() -> None:
    assert in_single_letters("AB+1", "BA+1") is None


@given(
    st.lists(st.sampled_from([*"abxyAXHh123+-*/^(){}= ", r"\frac", r"\alpha", r"\Delta", "_1"]), max_size=12).map(
        "".join
    )
)
def test_names_stay_apart(text: str) -> None:
    named = in_single_letters(text, "0")
    assert named is None or in_single_letters(*named) == named
