"""Text <-> steps: the code-augmented chain of thought (spec section 1; paper 3.2). The markers live only here."""

from __future__ import annotations

from collections.abc import Sequence

from rstar_core.types import Step, StepKind

CODE = "<code>"
END_OF_STEP = "<end_of_step>"
END_OF_CODE = "<end_of_code>"
OUTPUT = "<output>"
END_OF_OUTPUT = "<end_of_output>"
ANSWER = "<answer>"
END_OF_ANSWER = "<end_of_answer>"

MARKERS = (CODE, END_OF_STEP, END_OF_CODE, OUTPUT, END_OF_OUTPUT, ANSWER, END_OF_ANSWER)
STOPS = (END_OF_STEP, END_OF_CODE, END_OF_ANSWER)

_KIND_BY_STOP = {END_OF_STEP: StepKind.CODE, END_OF_CODE: StepKind.CODE_END, END_OF_ANSWER: StepKind.ANSWER}


def parse_step(text: str, prefix: Sequence[Step]) -> Step | None:
    """The step that a sampled continuation of ``prefix`` states, or None if it states none.

    A continuation ends with exactly one stop marker; code comes while the program is open, and after it only an
    answer block that starts with ``<answer>``. An empty body is not a step.
    """
    stop = next((marker for marker in STOPS if text.endswith(marker)), None)
    if stop is None:
        return None
    kind, body = _KIND_BY_STOP[stop], text.removesuffix(stop).strip()
    if is_program_complete(prefix):
        if kind is not StepKind.ANSWER or not body.startswith(ANSWER):
            return None
        body = body.removeprefix(ANSWER).strip()
    elif kind is StepKind.ANSWER:
        return None
    if not body or any(marker in body for marker in MARKERS):
        return None
    return Step(kind, body)


def is_program_complete(prefix: Sequence[Step]) -> bool:
    return any(step.kind is StepKind.CODE_END for step in prefix)


def render_step(step: Step) -> str:
    """A step as text, with the executor's output block after the step that completes the program."""
    return "".join(text for text, _ in render_segments(step))


def render_segments(step: Step) -> list[tuple[str, bool]]:
    """A step as (text, written_by_model) pieces: the executor's block carries no SFT loss."""
    match step.kind:
        case StepKind.CODE:
            return [(f"{step.body}\n{END_OF_STEP}\n", True)]
        case StepKind.CODE_END:
            shown = step.output.strip("\n")
            return [(f"{step.body}\n{END_OF_CODE}", True), (f"\n{OUTPUT}{shown}{END_OF_OUTPUT}\n", False)]
        case StepKind.ANSWER:
            return [(f"{ANSWER}{step.body}{END_OF_ANSWER}", True)]


def answer_step(answer: str) -> Step:
    """The answer block of a demonstration."""
    return Step(StepKind.ANSWER, f"\\boxed{{{answer}}}")
