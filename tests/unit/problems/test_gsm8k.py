"""Calculator annotations become short programs that print the gold answer, or nothing at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rstar_core.problems.files import Row, read_rows
from rstar_core.problems.gsm8k import NoProgram, make_program

TRAIN = Path(__file__).parents[4] / "shared" / "data" / "gsm8k_train.jsonl.gz"
_PRINTED_BY_EACH = """
import contextlib, io, json, sys
printed = []
for program in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(program, {})
    printed.append(output.getvalue())
json.dump(printed, sys.stdout)
"""


def printed_by(programs: list[tuple[str, ...]]) -> list[str]:
    texts = json.dumps(["\n".join(steps) for steps in programs])
    command = [sys.executable, "-I", "-S", "-c", _PRINTED_BY_EACH]
    run = subprocess.run(command, input=texts, capture_output=True, text=True, check=True, timeout=60)
    printed: list[str] = json.loads(run.stdout)
    return printed


def code(solution: str, answer: str, question: str = "") -> list[str]:
    """The lines of code of a program, without comments."""
    lines = "\n".join(make_program(question, solution, answer)).split("\n")
    return [line for line in lines if not line.startswith("#")]


def test_each_annotated_sentence_is_a_step_and_the_last_prints() -> None:
    solution = "Natalia sold 48/2 = <<48/2=24>>24 in May.\nThat is clear.\nIn all, 48+24 = <<48+24=72>>72.\n#### 72"
    assert make_program("Natalia sold clips to 48 of her friends, and half as many in May.", solution, "72") == (
        "# Natalia sold 48/2 = 24 in May.\nstep_1 = 48 // 2",
        "# In all, 48+24 = 72.\nstep_2 = 48 + 24\nprint(step_2)",
    )


def test_an_earlier_result_is_named_where_nothing_else_can_be_meant() -> None:
    solution = "<<31*2=62>>\n<<62+5=67>>"
    assert code(solution, "67") == ["step_1 = 31 * 2", "step_2 = step_1 + 5", "print(step_2)"]
    assert code(solution, "67", question="Of 62 cats")[1] == "step_2 = 62 + 5"


@pytest.mark.parametrize("solution", ["<<5+7=12>>\n<<12*3=36>>", "<<31+7=38>>\n<<30+8=38>>\n<<38-2=36>>"])
def test_everyday_numbers_and_repeated_results_stay_numbers(solution: str) -> None:
    assert "step" not in code(solution, "36")[-2].partition("=")[2]


def test_two_annotations_in_a_sentence_are_two_lines_of_one_step() -> None:
    assert make_program("", "A <<41+2=43>>43 and B <<43*2=86>>86.", "86") == (
        "# A 43 and B 86.\nstep_1 = 41 + 2\nstep_2 = step_1 * 2\nprint(step_2)",
    )


@pytest.mark.parametrize(
    ("expression", "answer", "last_lines"),
    [
        ("48/2", "24", ["step_1 = 48 // 2", "print(step_1)"]),
        ("(14+4)/(2*3)", "3", ["step_1 = (14 + 4) // (2 * 3)", "print(step_1)"]),
        ("7//2", "3", ["step_1 = 7 // 2", "print(step_1)"]),
        ("2**5", "32", ["step_1 = 2 ** 5", "print(step_1)"]),
        (".5*30", "15", ["step_1 = 0.5 * 30", "print(round(step_1))"]),
        ("15*.01*1000", "150", ["step_1 = 15 * 0.01 * 1000", "print(round(step_1))"]),
        ("1/3*9", "3", ["step_1 = 1 / 3 * 9", "print(round(step_1))"]),
        ("5/2", "2.5", ["step_1 = 5 / 2", "print(step_1)"]),
        ("5/2", "2.50", ["step_1 = 5 / 2", "print(step_1)"]),
        ("1.1+2.2", "3.3", ["step_1 = 1.1 + 2.2", "print(round(step_1, 2))"]),
        ("-3+1", "-2", ["step_1 = -3 + 1", "print(step_1)"]),
        ("+3+1", "4", ["step_1 = +3 + 1", "print(step_1)"]),
        ("600*2", "1,200", ["step_1 = 600 * 2", "print(step_1)"]),
    ],
)
def test_the_answer_is_printed_in_its_own_form(expression: str, answer: str, last_lines: list[str]) -> None:
    steps = make_program("", f"<<{expression}={answer}>>", answer)
    assert "\n".join(steps).split("\n") == last_lines
    (printed,) = printed_by([steps])
    assert printed == answer.replace(",", "").replace("2.50", "2.5") + "\n"


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "a+1",
        "(1).real",
        "1 if 1 else 2",
        "[1][0]",
        "(1,2)",
        "True+1",
        "1j*1j",
        "...",
        "'1'",
        "~1",
        "5%3",
        "step_1+1",
        "\u0663+1",
        "999999**10*" * 6 + "1.0",
        "1+",
        "05",
        "1/0",
        "1e999",
        "2**11",
        "2**.5",
        "2**-1",
        "9**9**9",
        "((9**9)**9)**9",
        "(1)(2)",
        "(" * 5000 + "1" + ")" * 5000,
        "-" * 5000 + "1",
        "",
    ],
)
def test_only_plain_small_arithmetic_is_read(expression: str) -> None:
    with pytest.raises(NoProgram, match="not plain arithmetic"):
        make_program("", f"<<1+0=1>>\n<<{expression}=1>>\n<<1+1=2>>", "2")


@pytest.mark.parametrize(
    ("solution", "answer", "reason"),
    [
        ("It is 4.", "4", "no calculator annotation"),
        ("<<2+2=4>>", "5", "the last annotation gives 4, the answer is 5"),
        ("<<2+2=5>>", "5", "the last annotation gives 4, the answer is 5"),
        ("<<10/3*3.001=10>>", "10", "the last annotation gives 3001/300,"),
        ("<<2+2=4>>", "four", "the answer is not a plain number"),
        ("<<2+2=4>>", "1e9999999999", "the answer is not a plain number"),
        ("<<a=4>>", "4", "not plain arithmetic: 'a'"),
    ],
)
def test_what_cannot_be_a_program_says_why(solution: str, answer: str, reason: str) -> None:
    with pytest.raises(NoProgram, match=reason):
        make_program("", solution, answer)


def test_an_endless_number_in_the_question_does_no_harm() -> None:
    assert code("<<1+1=2>>", "2", question="9" * 10_000) == ["step_1 = 1 + 1", "print(step_1)"]


def test_a_sentence_stays_one_comment_line() -> None:
    assert make_program("", "a\x0b b\u2028c\x85d\re <<1+1=2>>2", "2") == (
        "# a b c d e 2\nstep_1 = 1 + 1\nprint(step_1)",
    )


@pytest.mark.slow
@pytest.mark.skipif(not TRAIN.exists(), reason="the real GSM8K training set is not beside the checkout")
def test_nearly_all_of_gsm8k_is_converted_and_prints_its_answers() -> None:
    rows, _ = read_rows(str(TRAIN), "gsm8k", 0.0)
    converted = [(row, steps) for row in rows if (steps := program_or_none(row))]
    assert len(converted) / len(rows) == pytest.approx(0.937, abs=0.002)
    printed = printed_by([steps for _, steps in converted])
    assert printed == [row.problem.answer.replace(",", "") + "\n" for row, _ in converted]


def program_or_none(row: Row) -> tuple[str, ...] | None:
    try:
        return make_program(row.problem.text, row.solution, row.problem.answer)
    except NoProgram:
        return None
