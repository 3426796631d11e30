"""Problem + prefix -> prompt. Zero-shot is the SFT format; two-shot drives an untrained model (spec section 1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rstar_core.cot.grammar import (
    ANSWER,
    CODE,
    END_OF_ANSWER,
    END_OF_CODE,
    END_OF_OUTPUT,
    END_OF_STEP,
    OUTPUT,
    render_step,
)
from rstar_core.types import Question, Step, StepKind

# <code>, <|im_start|>: what a tokenizer may take for one of its control tokens.
CONTROL = re.compile(r"<(?=/?\|?[A-Za-z_]{1,40}\|?>)")


def plain(text: str) -> str:
    """``text`` of others such that no part of it is a control token, of ours or of a pretrained model's."""
    return CONTROL.sub("< ", text)


def zero_shot(question: Question, prefix: Sequence[Step]) -> str:
    """The prompt that a trained policy continues."""
    return f"{plain(question.text)}\n{CODE}\n" + "".join(render_step(step) for step in prefix)


def two_shot(question: Question, prefix: Sequence[Step]) -> str:
    """The prompt that an untrained model continues: instructions, two worked problems, then as ``zero_shot``."""
    worked = (f"Question: {zero_shot(*demonstration)}" for demonstration in DEMONSTRATIONS)
    return "\n\n".join([INSTRUCTIONS, *worked, f"Question: {zero_shot(question, prefix)}"])


PROMPTS: dict[str, Callable[[Question, Sequence[Step]], str]] = {"zero_shot": zero_shot, "two_shot": two_shot}

INSTRUCTIONS = f"""\
Solve the last question with a Python program. The packages math, sympy, scipy and numpy are installed. A solution has \
three parts:
1. The code, from {CODE} to {END_OF_CODE}, in steps. A step is a comment that says what is worked out and why, then \
the code that does it. Each step uses the variables of the steps before it and ends with {END_OF_STEP}; the last step \
prints the result and ends with {END_OF_CODE} instead.
2. The output, from {OUTPUT} to {END_OF_OUTPUT}: what the program printed. It is filled in when the program is run.
3. The answer, from {ANSWER} to {END_OF_ANSWER}: one sentence with the result in \\boxed{{}}."""

DEMONSTRATIONS: tuple[tuple[Question, tuple[Step, ...]], ...] = (
    (
        Question(
            "two_shot/1",
            "A bakery fills 14 trays with 18 rolls each. It sells two thirds of the rolls in the morning and 35 in the "
            "afternoon. How many rolls are left?",
        ),
        (
            Step(StepKind.CODE, "# Step 1: 14 trays of 18 rolls each\nrolls = 14 * 18"),
            Step(
                StepKind.CODE,
                "# Step 2: two thirds are sold in the morning, so one third stays\n"
                "after_morning = rolls - rolls * 2 // 3",
            ),
            Step(
                StepKind.CODE_END,
                "# Step 3: take away the 35 rolls of the afternoon and print the rest\n"
                "left = after_morning - 35\n"
                "print(left)",
                "49\n",
            ),
            Step(StepKind.ANSWER, "After both sales there are \\boxed{49} rolls left."),
        ),
    ),
    (
        Question(
            "two_shot/2",
            "The roots of $x^2 - 7x + 5 = 0$ are $a$ and $b$. What is $a^3 + b^3$? Give the exact value.",
        ),
        (
            Step(
                StepKind.CODE,
                "# Step 1: find the roots exactly with sympy\n"
                "from sympy import simplify, solve, symbols\n"
                'x = symbols("x")\n'
                "a, b = solve(x**2 - 7*x + 5, x)",
            ),
            Step(
                StepKind.CODE,
                "# Step 2: add the cubes; the square roots cancel when the sum is simplified\n"
                "total = simplify(a**3 + b**3)",
            ),
            Step(StepKind.CODE_END, "# Step 3: print the exact value\nprint(total)", "238\n"),
            Step(StepKind.ANSWER, "The sum of the cubes of the roots is \\boxed{238}."),
        ),
    ),
)
