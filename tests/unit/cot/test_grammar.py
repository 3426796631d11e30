"""The grammar: every step that is written is read again, and what is no step is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.cot.grammar import (
    MARKERS,
    answer_step,
    is_program_complete,
    parse_step,
    render_segments,
    render_step,
)
from rstar_core.types import Step, StepKind

OPEN = (Step(StepKind.CODE, "n = 1"),)
COMPLETE = (*OPEN, Step(StepKind.CODE_END, "print(n)", "1\n"))

bodies = st.text().map(str.strip).filter(lambda body: body and not any(marker in body for marker in MARKERS))


def written(step: Step) -> str:
    """What the model writes of a step, as an engine hands it on: it ends at the stop marker."""
    return "".join(text for text, is_models in render_segments(step) if is_models).rstrip("\n")


@given(st.sampled_from(StepKind), bodies)
def test_what_is_written_is_read(kind: StepKind, body: str) -> None:
    step = Step(kind, body)
    assert parse_step(written(step), COMPLETE if kind is StepKind.ANSWER else OPEN) == step


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ()),
        ("n = 1", ()),  # the token limit cut it off
        ("<end_of_step>", ()),
        (" \n<end_of_code>", OPEN),
        ("n = 1<end_of_step> ", ()),  # goes on after its stop
        ("n = 1<end_of_step>m = 2<end_of_step>", ()),
        ("n = 1<end_of_code><output>3<end_of_output><end_of_step>", ()),  # wrote the executor's block
        ("<code>n = 1<end_of_step>", ()),
        ("<answer>\\boxed{1}<end_of_answer>", OPEN),  # no program yet
        ("\\boxed{1}<end_of_answer>", COMPLETE),  # no answer marker
        ("so <answer>\\boxed{1}<end_of_answer>", COMPLETE),
        ("<answer><end_of_answer>", COMPLETE),
        ("<answer><answer>1<end_of_answer>", COMPLETE),
        ("n = 2<end_of_step>", COMPLETE),  # the program is over
        ("<answer>1<end_of_code>", COMPLETE),
    ],
)
def test_what_is_no_step_is_refused(text: str, prefix: tuple[Step, ...]) -> None:
    assert parse_step(text, prefix) is None


@given(st.text(), st.sampled_from(MARKERS), st.text(), st.sampled_from([(), OPEN, COMPLETE]))
def test_any_text_is_a_step_without_markers_or_none(
    before: str, marker: str, after: str, prefix: tuple[Step, ...]
) -> None:
    step = parse_step(f"{before}{marker}{after}", prefix)
    assert step is None or (step.body.strip() and not any(one in step.body for one in MARKERS))


@given(bodies, st.text())
def test_the_executors_block_carries_no_loss(body: str, output: str) -> None:
    step = Step(StepKind.CODE_END, body, output)
    mine = [text for text, is_models in render_segments(step) if is_models]
    assert mine == [f"{body}\n<end_of_code>"]
    assert render_step(step) == f"{mine[0]}\n<output>{output.strip(chr(10))}<end_of_output>\n"


def test_white_space_inside_a_body_is_kept() -> None:
    step = Step(StepKind.CODE, "for i in range(3):\n\n    n = i  # two  blanks\n\tm = 1")
    assert parse_step(written(step), ()) == step


def test_the_program_is_complete_once_a_step_has_ended_it() -> None:
    assert not is_program_complete(())
    assert not is_program_complete(OPEN)
    assert is_program_complete(COMPLETE)


def test_a_demonstrations_answer_is_boxed() -> None:
    assert render_step(answer_step("16")) == "<answer>\\boxed{16}<end_of_answer>"
