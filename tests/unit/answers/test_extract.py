from __future__ import annotations

import pytest

from rstar_core.answers.extract import Missing, extract, extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{16}.", "16"),
        (r"\boxed{ \frac{1}{\sqrt{2}} }", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"\boxed{1}, \boxed{2}, and \boxed{3}", "1, 2, 3"),
        (r"\boxed{3} or \boxed{4}", "3 or 4"),
        (r"no \boxed{9}. So \boxed{3} or \boxed{4}", "3 or 4"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed {3}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{a \\ b}", r"a \\ b"),
        (r"\fbox{31}", "31"),
        (r"it is $\boxed 8$", "8"),
    ],
)
def test_the_last_box_with_its_nested_braces(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text", ["", "16", r"\boxed{}", r"\boxed{ }", r"\boxed{1", r"\boxed{1} or \boxed{2", r"\boxed"]
)
def test_no_answer(text: str) -> None:
    assert extract_answer(text) is None


@pytest.mark.parametrize("text", [r"\boxed{" * 100_000, "{" * 10**6, r"\boxed{" + "{}" * 500_000])
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    assert extract_answer(text) is None


@pytest.mark.parametrize(
    ("text", "missing"), [("16", Missing.NO_BOX), (r"\boxed{1", Missing.OPEN_BOX), (r"\boxed{ }", Missing.EMPTY_BOX)]
)
def test_the_reason_is_told(text: str, missing: Missing) -> None:
    assert extract(text).missing is missing
