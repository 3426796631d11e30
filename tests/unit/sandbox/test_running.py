"""What a run does for an honest caller."""

from __future__ import annotations

import signal

import pytest

from rstar_core.sandbox.base import Raised, Status
from rstar_core.sandbox.wire import CUT_MARK
from tests.unit.sandbox.shell import Shell, open_descriptors


def test_stdout_is_the_result(shell: Shell) -> None:
    outcome = shell.run("print(6 * 7)")
    assert (outcome.status, outcome.stdout, outcome.error) == (Status.OK, "42\n", "")
    assert outcome.cpu_seconds > 0 and 0 < outcome.seconds < 3


def test_parents_are_replayed_and_their_output_dropped(shell: Shell) -> None:
    outcome = shell.run("print(x + y)", "x = 1\nprint('parent')", "y = x + 1")
    assert outcome.stdout == "3\n"


def test_a_print_function_kept_by_a_parent_still_prints(shell: Shell) -> None:
    assert shell.run("out.write('kept')", "import sys\nout = sys.stdout").stdout == "kept"


def test_an_error_in_a_parent_is_told_apart(shell: Shell) -> None:
    outcome = shell.run("print('never')", "x = 1", "1 / 0")
    assert (outcome.status, outcome.stdout) == (Status.ERROR, "")
    assert outcome.error == "prefix: ZeroDivisionError: division by zero"


def test_code_runs_like_a_script(shell: Shell) -> None:
    code = "import sys\ndef f(n): return n * f(n - 1) if n else 1\nif __name__ == '__main__': print(f(5))"
    assert shell.run(code).stdout == "120\n"
    assert shell.run("import __main__\nx = 5\nprint(__main__.x)").stdout == "5\n"


def test_names_of_the_server_are_not_in_reach(shell: Shell) -> None:
    assert shell.run("print(sorted(n for n in dir() if n[0] != '_'))").stdout == "[]\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x +", "SyntaxError: invalid syntax (<step>, line 1)"),
        ("raise ValueError", "ValueError"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("\x00", "SyntaxError: source code string cannot contain null bytes"),
        ("input()", "EOFError: EOF when reading a line"),
    ],
)
def test_errors_are_one_line(shell: Shell, code: str, error: str) -> None:
    outcome = shell.run(code)
    assert (outcome.status, outcome.error) == (Status.ERROR, error)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("1 / 0", 1),
        ("x = 1\nx +", 2),
        ("def f():\n    return 1 / 0\n\nf()", 4),
        ("g()", 1),
        ("\n\nexec('a\\nb +')", 3),
        ("import sys\nsys.exit(3)", 2),
    ],
)
def test_an_error_tells_its_type_message_and_the_steps_own_line(shell: Shell, code: str, line: int) -> None:
    raised = shell.run(code, "def g():\n    pass\n    raise ValueError('from above')").raised
    assert raised is not None and raised.line == line and str(raised).startswith(raised.type)


def test_an_errors_type_and_message_are_apart(shell: Shell) -> None:
    outcome = shell.run("class Odd(Exception): pass\nraise Odd('a: b')")
    assert outcome.raised == Raised("Odd", "a: b", 2) and outcome.error == "Odd: a: b"


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("pass", 0),
        ("1 / 0", 0),
        ("import os; os._exit(3)", 0),
        ("import ctypes; ctypes.string_at(0)", signal.SIGSEGV),
        ("import time; time.sleep(9)", signal.SIGKILL),
        ("import ctypes; ctypes.CDLL(None).syscall(101, 0, 0, 0, 0)", signal.SIGSYS),
    ],
)
def test_the_signal_that_ended_it_is_told(shell: Shell, code: str, number: int) -> None:
    outcome = shell.run(code)
    assert (outcome.signal, outcome.raised is None) == (number, code != "1 / 0")


def test_peak_memory_is_told_also_of_a_run_that_died(shell: Shell) -> None:
    eating = "x = bytearray(90_000_000)\nfor n in range(0, len(x), 4096): x[n] = 1\ndel x"
    little, much = shell.run("pass").peak_mib, shell.run(eating).peak_mib
    died = shell.run(f"{eating}\nimport os; os._exit(0)").peak_mib
    assert 5 < little < much - 80 and abs(died - much) < 10


def test_output_before_an_error_is_kept(shell: Shell) -> None:
    outcome = shell.run("print('so far')\n1 / 0")
    assert (outcome.status, outcome.stdout) == (Status.ERROR, "so far\n")


def test_a_long_error_is_cut(shell: Shell) -> None:
    assert len(shell.run("raise ValueError('a' * 10**6)").error) == 300


@pytest.mark.parametrize("code", ["print('a' * 10**7)", "for _ in range(10**4): print('a' * 99)"])
def test_stdout_is_capped_and_the_cut_marked(shell: Shell, code: str) -> None:
    stdout = shell.run(code).stdout
    assert len(stdout) == 200 + len(CUT_MARK) and stdout.endswith(CUT_MARK)


def test_stdout_at_the_cap_is_whole(shell: Shell) -> None:
    assert shell.run("print('a' * 199)").stdout == "a" * 199 + "\n"


def test_texts_that_utf8_can_not_hold(shell: Shell) -> None:
    assert shell.run("print('\\ud800é\\U0001F600')").stdout == "?é😀\n"
    assert shell.run("raise ValueError('\\ud800')").error == "ValueError: ?"
    assert shell.run("x = '\ud800'").status is Status.ERROR


def test_a_large_source_arrives(shell: Shell) -> None:
    assert shell.run(f"print(len('{'a' * 3_000_000}'))").stdout == "3000000\n"


def test_the_libraries_of_the_prompt_are_there(shell: Shell) -> None:
    code = "import math, numpy, sympy, scipy.special\nprint(sympy.sqrt(8), math.comb(5, 2), scipy.special.comb(4, 2))"
    assert shell.run(code).stdout == "2*sqrt(2) 10 6.0\n"


def test_runs_repeat_exactly(shell: Shell) -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.rand(), hash('a'), list({'x', 'y', 'z'}))"
    assert len({outcome.stdout for outcome in shell.run_all([code] * 8)}) == 1


def test_many_runs_at_once_each_answer_their_caller(shell: Shell) -> None:
    outcomes = shell.run_all([f"print({number} ** 2)" for number in range(200)])
    assert [outcome.stdout for outcome in outcomes] == [f"{number**2}\n" for number in range(200)]


def test_descriptors_come_back_to_their_base(shell: Shell) -> None:
    shell.run("pass")
    before = open_descriptors()
    shell.run_all(["pass", "1 / 0", "import os; os._exit(0)"] * 10)
    assert open_descriptors() == before
