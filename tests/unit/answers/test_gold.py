"""A gold answer has to be read, not only repeated."""

from __future__ import annotations

import pytest

from rstar_core.answers.equivalence import Verdict
from rstar_core.answers.gold import cheap_gold_ruling, gold_ruling
from tests.unit.answers.bench import Bench


@pytest.mark.parametrize(
    "gold",
    ["18", "-3.5", "1,234", "1/3", r"\frac{3}{4}", r"12\%", "1011_2", r"5\text{ cm}", "B", "A,C", "yes", "x=5",
     r"3\sqrt{5}", "x^2-1", "(1,2)", r"\{1,2\}", "[0,1)", r"\boxed{7}."],
)  # fmt: skip
def test_cheap_rules_read_it(gold: str) -> None:
    ruling = cheap_gold_ruling(gold)
    assert ruling and ruling.verdict is Verdict.EQUAL


@pytest.mark.parametrize(
    ("gold", "verdict"),
    [
        (r"\sin x", Verdict.EQUAL),
        (r"x \le 3", Verdict.EQUAL),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", Verdict.EQUAL),
        (r"y=\frac{x}{x+1}", Verdict.EQUAL),
        (r"\frac{1}{2", Verdict.UNDECIDED),
        ("?", Verdict.UNDECIDED),
        ("1/0", Verdict.UNDECIDED),
        ("9" * 3000, Verdict.UNDECIDED),
        (r"a \perp b", Verdict.UNDECIDED),
    ],
)
def test_math_verify_reads_the_rest_or_nobody_does(bench: Bench, gold: str, verdict: Verdict) -> None:
    assert bench.runner.run(gold_ruling(gold, bench.sandbox)).verdict is verdict
