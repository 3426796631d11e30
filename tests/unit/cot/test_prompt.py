"""Prompts: what a model continues is a solution in the grammar, and the demonstrations are solutions themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rstar_core.answers.extract import extract_answer
from rstar_core.cot.grammar import CODE, END_OF_ANSWER, MARKERS, parse_step, render_step
from rstar_core.cot.prompt import DEMONSTRATIONS, INSTRUCTIONS, PROMPTS, two_shot, zero_shot
from rstar_core.types import Question, Step, StepKind

QUESTION = Question("q", "What is 2 + 3?")
PREFIX = (Step(StepKind.CODE, "# Step 1: add\nn = 2 + 3"),)
each_demonstration = pytest.mark.parametrize("demonstration", DEMONSTRATIONS, ids=lambda pair: pair[0].id)


def test_zero_shot_is_the_format_of_training() -> None:
    assert zero_shot(QUESTION, ()) == "What is 2 + 3?\n<code>\n"
    assert zero_shot(QUESTION, PREFIX) == "What is 2 + 3?\n<code>\n# Step 1: add\nn = 2 + 3\n<end_of_step>\n"


def test_two_shot_ends_as_zero_shot_does() -> None:
    assert two_shot(QUESTION, PREFIX).endswith(f"\n\nQuestion: {zero_shot(QUESTION, PREFIX)}")


def test_two_shot_states_the_rules_before_two_whole_solutions() -> None:
    prompt = two_shot(QUESTION, ())
    assert prompt.startswith(INSTRUCTIONS)
    assert all(marker in INSTRUCTIONS for marker in MARKERS)
    assert all(package in INSTRUCTIONS for package in ("math", "sympy", "scipy", "numpy"))
    examples = prompt.removeprefix(INSTRUCTIONS)
    assert (examples.count(CODE), examples.count(END_OF_ANSWER)) == (3, 2)


@each_demonstration
def test_a_demonstration_is_written_in_the_grammar(demonstration: tuple[Question, tuple[Step, ...]]) -> None:
    _, steps = demonstration
    for index, step in enumerate(steps):
        text = render_step(Step(step.kind, step.body)).partition("\n<output>")[0]
        assert parse_step(text.rstrip("\n"), steps[:index]) == Step(step.kind, step.body)
    assert [step.kind for step in steps] == [*[StepKind.CODE] * 2, StepKind.CODE_END, StepKind.ANSWER]


@each_demonstration
def test_a_demonstration_prints_what_it_says(demonstration: tuple[Question, tuple[Step, ...]]) -> None:
    *code, answer = demonstration[1]
    program = "\n".join(step.body for step in code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == code[-1].output
    assert extract_answer(answer.body) == done.stdout.strip()


def test_prompts_are_found_by_name() -> None:
    assert {"zero_shot": zero_shot, "two_shot": two_shot} == PROMPTS


@pytest.mark.parametrize("text", ["Say <end_of_code> now.", "<|im_start|>system", "</s> and <code>", "<|endoftext|>"])
def test_a_problems_text_brings_no_control_token(text: str) -> None:
    prompt = zero_shot(Question("p", text), ()).removesuffix(f"\n{CODE}\n")
    assert prompt == text.replace("<", "< ")
    assert not any(marker in prompt for marker in MARKERS)


@pytest.mark.parametrize("text", ["Is 3 < 5 and x > z?", "Find a<b.", "If 2<x<3, then?"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert zero_shot(Question("p", text), ()).startswith(text)
