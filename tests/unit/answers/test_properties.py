"""What holds for every pair of texts that the cheap layers see."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rstar_core.answers.equivalence import Verdict, cheap_ruling

PIECES = st.lists(
    st.sampled_from(
        [*"0123456789.,+-/%()[]{}^_ abxyAB", r"\frac", r"\text{cm}", r"\boxed{", r"\left", r"\pi", r"\\", "$"]
    ),
    max_size=14,
).map("".join)
TEXTS = st.one_of(st.text(max_size=40), PIECES)
NUMBERS = st.one_of(st.integers().map(str), st.fractions().map(str), st.decimals(-1000, 1000, places=3).map(str))


@given(TEXTS)
def test_reflexive(text: str) -> None:
    ruling = cheap_ruling(text, text)
    assert ruling and ruling.verdict is (Verdict.EQUAL if text.strip() else Verdict.DIFFERENT)


@given(TEXTS, TEXTS)
def test_symmetric(gold: str, answer: str) -> None:
    assert cheap_ruling(gold, answer) == cheap_ruling(answer, gold)


@given(
    NUMBERS,
    st.sampled_from(["${}$", r"\boxed{{{}}}", " {} ", r"\left({}\right)", r"\text{{{}}}", r"\({}\).", "\u200b{}"]),
)
def test_noise_changes_nothing(number: str, noise: str) -> None:
    if "(" in noise and "/" in number:
        return
    ruling = cheap_ruling(number, noise.format(number))
    assert ruling and ruling.verdict is Verdict.EQUAL


@given(st.fractions(), st.fractions())
def test_numbers_are_equal_when_they_are(first: object, second: object) -> None:
    ruling = cheap_ruling(str(first), str(second))
    assert ruling and (ruling.verdict is Verdict.EQUAL) == (first == second)
