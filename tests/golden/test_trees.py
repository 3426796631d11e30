"""Whole trees, reviewed once: any change of the search shows as a diff of these files.

``pytest tests/golden --update-golden`` rewrites them. The problem: 3 boxes of 4 apples, 2 are eaten; how many are left?
"""

from __future__ import annotations

from collections.abc import Callable

from rstar_core.mcts.search import guides_judge
from rstar_core.mcts.tree import Tree
from tests.unit.mcts.scripts import answer, boxed, code, end, grow, priors, truth

Check = Callable[[str, Tree], None]

TIMES, PLUS = "# apples in all\nn = 3 * 4", "# add the apples\nn = 3 + 4"
LESS, MORE = "# 2 are eaten\nprint(10)", "# 2 come back\nprint(14)"
SUM_LESS = "# 7, and 2 are eaten\nprint(5)"
FORGOTTEN, CRASH = "# print all\nprint(12)", "# divide\nraise ZeroDivisionError"
MIXED = {
    ("q",): [code(TIMES), code(PLUS), code(TIMES)],
    ("q", TIMES): [end(LESS), end(MORE), end(FORGOTTEN)],
    ("q", PLUS): [end(SUM_LESS)],
    ("q", TIMES, LESS): [answer("10"), answer("12"), answer("10")],
    ("q", TIMES, MORE): [answer("14")],
    ("q", TIMES, FORGOTTEN): [answer("12"), answer("?")],
    ("q", PLUS, SUM_LESS): [answer("5")],
}
SCORES = {TIMES: 0.6, PLUS: -0.2, LESS: 0.7, MORE: -0.4, FORGOTTEN: 0.1, boxed("10"): 0.9, boxed("12"): 0.3}


def test_terminal_guided_with_mixed_answers(check: Check) -> None:
    """The terminal guide of rounds 1 and 2."""
    check("terminal_guided", grow(MIXED, judge=truth("10"), num_candidates=3, num_rollouts=16))


def test_ppm_guided_with_known_truth(check: Check) -> None:
    """Rounds 3 and 4 while data is made: priors from the PPM, rewards from the truth."""
    check("ppm_guided", grow(MIXED, judge=truth("10"), guide=priors(SCORES), num_candidates=3, num_rollouts=12))


def test_ppm_guided_at_test_time(check: Check) -> None:
    """Rewards from the PPM too, and an end as soon as three rollouts in a row agree."""
    tree = grow(
        MIXED, judge=guides_judge, guide=priors(SCORES), num_candidates=3, num_rollouts=16, uct_c=0.5, settled_after=3
    )
    check("test_time", tree)


def test_extra_rollouts_until_solved(check: Check) -> None:
    """The guide is wrong about everything; two rollouts find nothing, and one of up to thirty more does."""
    guide = priors({body: -score for body, score in SCORES.items()})
    tree = grow(MIXED, judge=truth("10"), guide=guide, num_candidates=3, num_rollouts=2, extra_rollouts=30)
    check("extra_rollouts", tree)


def test_failing_code(check: Check) -> None:
    """Crashes drop candidates, then whole nodes; candidates are drawn, so counts differ."""
    script = {
        ("q",): [code(TIMES), code(PLUS), code(CRASH), "cut off"],
        ("q", TIMES): [end(CRASH), end(LESS)],
        ("q", PLUS): [end(CRASH), code(CRASH)],
        ("q", TIMES, LESS): [answer("10"), "<answer>ten<end_of_answer>"],
    }
    check("failing_code", grow(script, judge=truth("10"), is_drawn=True, num_candidates=6, num_rollouts=12))


def test_max_depth(check: Check) -> None:
    """Only the short way ends within three steps."""
    script = {
        ("q",): [code(TIMES), end(LESS)],
        ("q", LESS): [answer("10")],
        ("q", TIMES): [code("m = 2"), end(LESS)],
        ("q", TIMES, LESS): [answer("10")],
        ("q", TIMES, "m = 2"): [code("n = n - m")],
    }
    check("max_depth", grow(script, judge=truth("10"), max_depth=3, num_rollouts=10))
