"""Plain steps share a process with the others of their problem: same outcomes, and nothing passes between them."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Sequence

import pytest

from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.sandbox.plain import is_plain
from tests.unit.sandbox.hostile import SNIPPETS
from tests.unit.sandbox.shell import LIMITS, NO_SNAPSHOTS

PROBLEM = "a problem"
NAMES = ("n", "m", "total", "x1")


class Both:
    """Steps run both ways: in the problem's own process and in one of their own."""

    def __init__(self, sandbox: ForkSandbox, runner: asyncio.Runner) -> None:
        self.sandbox, self.runner = sandbox, runner

    def outcomes(self, runs: Sequence[tuple[Sequence[str], str]], problem_id: str = PROBLEM) -> list[Outcome]:
        async def work() -> list[Outcome]:
            return await asyncio.gather(*(self.sandbox.run(parents, code, problem_id) for parents, code in runs))

        return self.runner.run(work())

    @property
    def pids(self) -> set[int]:
        return {runner.child.pid for runner in self.sandbox._runners._live.values()}


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with asyncio.Runner() as runner:
        sandbox = ForkSandbox(LIMITS, 2, NO_SNAPSHOTS, libraries=())
        runner.run(sandbox.__aenter__())
        yield Both(sandbox, runner)
        runner.run(sandbox.__aexit__(None, None, None))


def seen(outcome: Outcome) -> tuple[object, ...]:
    return outcome.status, outcome.stdout, outcome.error, outcome.raised


@pytest.mark.parametrize(
    "code",
    [
        "n = 2 + 3\nprint(n)",
        "# a comment\nn = n - n // 2\nm = -n ** 2 % 7",
        "print(f'{n:>5} of {m!r}', sep='', end='!')",
        "for i in range(3):\n    if i == n and not m or i < 2 <= n:\n        continue\n    print(i if i else None)",
        "xs = [1, 2.5, 'a'][0:2]\nxs[0] = max(xs)\nprint(sum(xs), len(xs), sorted(xs), divmod(7, 2), round(2.567, 1))",
        "a, b = 1, 2\na += b",
    ],
)
def test_arithmetic_is_plain(code: str) -> None:
    assert is_plain(code)


@pytest.mark.parametrize(
    "code",
    [
        "import math",
        "n.real",
        "''.format",
        "__builtins__",
        "_ = 1",
        "open('x')",
        "f = open",
        "p = print\np(1)",
        "print(1, file=n)",
        "sorted([1], key=str)",
        "def f(): pass",
        "lambda: 1",
        "[i for i in range(3)]",
        "while True: pass",
        "eval('1')",
        "(lambda: 1)()",
        "print(*[1])",
        "x: int = 1",
        "del n",
        "global n",
        "1 +",
        "{1: 2}",
        "try:\n    n\nexcept Exception:\n    pass",
        "raise ValueError",
        "assert n",
        "x = (n := 1)",
        "a = b'1'",
        "print(exit)",
        "ｏpen('x')",  # another spelling of open, to Python too
        "n = 1\0",
        "(" * 500 + ")" * 500,
        "n = 1  #" + "x" * 4000,
    ],
)
def test_anything_else_is_not(code: str) -> None:
    assert not is_plain(code)


def test_a_hostile_snippet_is_plain_only_where_it_is_arithmetic_or_print() -> None:
    plain = [snippet.code for snippet in SNIPPETS if is_plain(snippet.code)]
    assert not [code for code in plain if not re.fullmatch(r"(x = )?[0-9* ]+|print\('.*'( \* 9)?\)", code)]


def test_generated_programs_do_the_same_both_ways(both: Both) -> None:
    rng = random.Random(0)
    runs = [program(rng) for _ in range(1500)]
    shared, alone = both.outcomes(runs), both.outcomes(runs, problem_id="")
    different = [
        (run, one, other) for run, one, other in zip(runs, shared, alone, strict=True) if seen(one) != seen(other)
    ]
    assert not different, different[:3]
    statuses = [outcome.status for outcome in shared]
    assert statuses.count(Status.OK) > 500 and statuses.count(Status.ERROR) > 100


@pytest.mark.parametrize(
    "code",
    [
        "n = 9 ** 9 ** 9",
        "for i in range(10 ** 9):\n    n = i",
        "n = [0] * 10 ** 12",
        "n = 'a' * 10 ** 12",
        "print('a' * 10 ** 5)",
        "print(f'{1:>10000000000}')",
        "n = " + "-" * 2000 + "1",
        "n = " + "(" * 90 + "1" + ")" * 90,
        "print(10 ** 5000)",
        "n = 1 / 0",
        "print(2 ** 0.5, 1e400, -0.0, 10 ** 30, 7 // -2, 3 % -2)",
        "n = [1, 2]\nn[5] = 1",
        "print('\\ud800')",
        "print = 3\nprint(1)",
        "n = 1 +",
        "n.__class__.__base__.__subclasses__()",
    ],
)
def test_what_goes_to_the_limits_ends_as_it_does_alone(both: Both, code: str) -> None:
    (shared,), (alone,) = both.outcomes([([], code)]), both.outcomes([([], code)], problem_id="")
    assert (shared.status, shared.stdout, shared.raised) == (alone.status, alone.stdout, alone.raised)
    assert both.outcomes([(["n = 4"], "print(n)")])[0].stdout == "4\n", "the problem's next step runs"


def test_nothing_is_left_behind(both: Both) -> None:
    before, after = (
        both.outcomes([([], "secret = [5]\nsum = 1\nn = secret")]),
        both.outcomes([([], "print(sum([secret]))")]),
    )
    assert before[0].status is Status.OK
    assert after[0].error == "NameError: name 'secret' is not defined"


def test_a_parents_error_is_told_as_ever(both: Both) -> None:
    assert both.outcomes([(["n = 1", "n = m"], "print(n)")])[0].error == "prefix: NameError: name 'm' is not defined"


def test_problems_share_no_process_and_the_steps_of_one_do(both: Both) -> None:
    both.sandbox._runners.clear()
    both.outcomes([([], f"n = {number}") for number in range(20)])
    assert len(both.pids) == 1
    both.outcomes([([], "n = 1")], problem_id="another")
    assert len(both.pids) == 2


def test_what_is_not_plain_never_runs_in_a_shared_process(both: Both) -> None:
    both.outcomes([([], "n = 1")])
    before = both.pids
    outcomes = both.outcomes([([], "import os\nprint(os.getpid())"), (["def f(): return 1"], "print(f())")])
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.OK]
    assert both.pids == before


def test_a_killed_process_costs_nothing_but_a_new_one(both: Both) -> None:
    both.outcomes([([], "n = 1")])
    for runner in both.sandbox._runners._live.values():
        runner.child.signal(9)
    outcomes = both.outcomes([(["n = 1"], f"print(n + {number})") for number in range(5)])
    assert [outcome.stdout for outcome in outcomes] == [f"{number + 1}\n" for number in range(5)]


def program(rng: random.Random) -> tuple[list[str], str]:
    """Ancestors and a step: arithmetic, some of it broken or no arithmetic at all."""
    start = "\n".join(f"{name} = {rng.randint(1, 99)}" for name in NAMES)
    return [start, *(step(rng, is_safe=True) for _ in range(rng.randrange(3)))], step(rng, is_safe=False)


def step(rng: random.Random, is_safe: bool) -> str:
    """A safe one fails seldom."""
    lines = [f"{rng.choice(NAMES)} = {rng.randint(-99, 99)}" for _ in range(rng.randrange(3))]
    depth = 0 if is_safe else 2
    lines += [
        f"{rng.choice(NAMES)} {rng.choice(('=', '+='))} {expression(rng, depth)}" for _ in range(rng.randrange(3))
    ]
    if rng.random() < 0.5:
        lines.append(f"print({expression(rng, depth)})")
    if rng.random() < 0.2:
        lines.append(f"for i in range({rng.randrange(6)}):\n    {rng.choice(NAMES)} = i + {rng.randrange(9)}")
    if not is_safe and rng.random() < 0.15:
        lines.append(
            rng.choice(
                (
                    "import math",
                    "n.bit_length()",
                    "n = = 2",
                    "print([k for k in range(3)])",
                    "n = 'a' + 1",
                    "n = unknown",
                )
            )
        )
    return "# a day\n" + "\n".join(lines)


def expression(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.3:
        return rng.choice((*NAMES, str(rng.randrange(1, 100)), str(rng.random() * 10)))
    left, right = expression(rng, depth - 1), expression(rng, depth - 1)
    return rng.choice(
        (
            f"{left} {rng.choice(('+', '-', '*', '/', '//', '%', '<', '==', 'and', 'or'))} {right}",
            f"({left}, {right})[{rng.randrange(3)}]",
            f"{rng.choice(('abs', 'round', 'int', 'str', 'len', 'max', 'sum'))}({left})",
            f"f'{{{rng.choice(NAMES)}}}'",
            f"-{left}",
        )
    )
