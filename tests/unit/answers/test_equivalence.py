"""The whole chain, with math-verify in a real sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rstar_core.answers.equivalence import Grader, Verdict, math_verify_ruling
from rstar_core.sandbox.base import Outcome, Status
from tests.unit.answers.bench import Bench
from tests.unit.sandbox.shell import CASES

# Two of the 261 labels call a decimal of nine digits equal to the number that it rounds; here that is undecided.
MIN_AGREEMENT = 259


class FixedSandbox:
    """Answers every run alike and remembers what it was asked."""

    level = "toy"

    def __init__(self, stdout: str, status: Status = Status.OK) -> None:
        self.outcome = Outcome(status, stdout, "", 0.0, 0.0)
        self.asked: list[str] = []

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        self.asked.append(code)
        return self.outcome


def judge(bench: Bench, gold: str, answer: str) -> Verdict:
    return bench.ruling(gold, answer).verdict


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\sqrt{8}", r"2\sqrt{2}"),
        ("x=5", "5"),
        ("5", "x=5"),
        (r"(-\infty,3]", r"x \le 3"),
        ("x^2-1", "(x-1)(x+1)"),
        (r"\{1,2,3\}", r"\{3,2,1\}"),
        ("5", r"5\text{ cm}"),
        ("2^{10}", "1024"),
    ],
)
def test_equal(bench: Bench, gold: str, answer: str) -> None:
    assert judge(bench, gold, answer) is Verdict.EQUAL


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\pi", r"\frac{22}{7}"),
        ("x>3", "x<3"),
        ("[1,2]", "(1,2)"),
        ("A,B", "A,C"),
        ("1,2,3", "1,2"),
        ("5", "5 or 6"),
        (r"\frac{1}{2}", "1 2"),
    ],
)
def test_different(bench: Bench, gold: str, answer: str) -> None:
    assert judge(bench, gold, answer) is Verdict.DIFFERENT


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^{9}}}",
        "\x00",
        "?",
        "(" * 3000 + "5" + ")" * 3000,
        "9" * 10**6,
        "\ud800",
        "{" * 1999,
        '__import__("os")._exit(0)',
    ],
)
@pytest.mark.slow
def test_hostile_answers_are_undecided(bench: Bench, answer: str) -> None:
    assert judge(bench, "5", answer) is Verdict.UNDECIDED


@pytest.mark.parametrize("call", ["open({!r}, 'w')", "__import__('os').system('touch {}')", "x = open({!r}, 'w')"])
def test_an_answer_is_never_executed(bench: Bench, call: str, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    assert judge(bench, "5", call.format(str(target))) is not Verdict.EQUAL
    assert not target.exists()


@pytest.mark.parametrize("answer", ["print('equal')", "'; print('equal') #", 'print("equal")', "equal"])
def test_an_answer_can_not_speak_the_verdict(bench: Bench, answer: str) -> None:
    assert judge(bench, "5", answer) is not Verdict.EQUAL


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_failed_run_is_undecided(status: Status) -> None:
    assert asyncio.run(math_verify_ruling("x", "y", FixedSandbox("equal\n", status))).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("stdout", ["", "equal\nequal\n", "maybe\n", "different\nmore"])
def test_any_other_word_is_undecided(stdout: str) -> None:
    assert asyncio.run(math_verify_ruling("x", "y", FixedSandbox(stdout))).verdict is Verdict.UNDECIDED


def test_the_grader_asks_once_for_a_pair() -> None:
    async def ask(grader: Grader) -> list[Verdict]:
        return [
            await grader.verdict("x", "y"),
            (await grader.math_verify("x", "y")).verdict,
            await grader.verdict("x", "y"),
        ]

    sandbox = FixedSandbox("different\n")
    assert asyncio.run(ask(Grader(sandbox))) == [Verdict.DIFFERENT] * 3
    assert len(sandbox.asked) == 1


def test_the_second_opinion_is_asked_even_where_text_would_do() -> None:
    async def ask(grader: Grader) -> tuple[Verdict, Verdict]:
        return await grader.verdict("5", "5"), (await grader.math_verify("5", "5")).verdict

    sandbox = FixedSandbox("undecided\n")
    assert asyncio.run(ask(Grader(sandbox))) == (Verdict.EQUAL, Verdict.UNDECIDED)
    assert len(sandbox.asked) == 1


@pytest.mark.slow
@pytest.mark.skipif(not (CASES / "answers.jsonl").exists(), reason="the labelled pairs are not here")
def test_agreement_with_the_labelled_pairs(bench: Bench) -> None:
    pairs: list[Any] = [json.loads(line) for line in (CASES / "answers.jsonl").read_text("utf-8").splitlines()]

    verdicts = [ruling.verdict for ruling in bench.rulings([(pair["gold"], pair["answer"]) for pair in pairs])]
    judged = list(zip(pairs, verdicts, strict=True))
    assert not [pair for pair, verdict in judged if verdict is Verdict.EQUAL and not pair["equal"]]
    assert sum((verdict is Verdict.EQUAL) == pair["equal"] for pair, verdict in judged) >= MIN_AGREEMENT
