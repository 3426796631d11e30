"""One search, one property a test: what is kept of the candidates, how a rollout ends, and when the search does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest

from rstar_core.config import SandboxLimits
from rstar_core.engines.scripted import ScriptedPolicy, by_prefix
from rstar_core.mcts.search import Budget, Parts, guides_judge, search
from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.sandbox.base import Status
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.types import Candidate, Question, Step, StepKind, Terminal
from tests.unit.mcts.scripts import (
    BUDGET,
    QUESTION,
    ToySandbox,
    answer,
    bodies,
    boxed,
    code,
    end,
    find,
    grow,
    priors,
    truth,
)

SHORT = {("q",): [end("print(5)")], ("q", "print(5)"): [answer("5"), answer("6")]}
FAILING = end("raise ValueError")
NO_STEP = "a text without a stop"


def answers(*texts: str) -> dict[tuple[str, ...], list[str]]:
    """A one-step program, then these texts."""
    return {("q",): [end("print(5)")], ("q", "print(5)"): list(texts)}


# --- expand ---------------------------------------------------------------------------------------------------


def test_equal_candidates_are_one_child_that_counts_them() -> None:
    script = {("q",): [code("a"), code("b"), code("  a\n"), end("a"), code("a")], ("q", "a"): [FAILING]}
    tree = grow(script | {("q", "b"): [FAILING]}, num_candidates=5, num_rollouts=1)
    children = [tree[child] for child in tree[ROOT].children]
    assert [(node.step, node.num_samples) for node in children] == [
        (Step(StepKind.CODE, "a"), 3),
        (Step(StepKind.CODE, "b"), 1),
        (Step(StepKind.CODE_END, "a"), 1),
    ]


def test_each_distinct_code_runs_once_after_its_ancestors() -> None:
    sandbox = ToySandbox()
    script = {("q",): [code("a"), code("a")], ("q", "a"): [end("b"), end("raise")], ("q", "a", "b"): [answer("5")]}
    grow(script, sandbox=sandbox)
    assert sandbox.runs == [((), "a"), (("a",), "b"), (("a",), "raise")]


def test_code_that_fails_drops_its_candidate() -> None:
    tree = grow({**SHORT, ("q",): [FAILING, end("print(5)"), code("raise")]}, num_candidates=3)
    assert bodies(tree) == ["print(5)"]


def test_a_text_that_is_no_step_drops_its_candidate() -> None:
    tree = grow({**SHORT, ("q",): [NO_STEP, answer("5"), end("print(5)")]}, num_candidates=3)
    assert bodies(tree) == ["print(5)"]


def test_a_step_keeps_what_it_printed() -> None:
    script = {
        ("q",): [code("print(3)")],
        ("q", "print(3)"): [end("print(5)")],
        ("q", "print(3)", "print(5)"): [answer("5")],
    }
    assert [step.output for step in grow(script).prefix(3)] == ["3\n", "5\n", ""]


def test_the_policy_reads_the_output_and_gets_a_seed_of_its_own_for_each_node() -> None:
    policy = Listening(SHORT)
    grow({}, policy=policy)
    (first, second) = policy.calls
    assert first[0] == () and second[0] == (Step(StepKind.CODE_END, "print(5)", "5\n"),)
    assert first[1] != second[1]


def test_the_tree_counts_the_tokens_of_every_candidate() -> None:
    tree = grow({**SHORT, ("q",): [end("print(5)"), end("print(5)"), NO_STEP]}, num_candidates=3)
    assert tree.num_tokens == (2 + 2 + 5) + (1 + 1 + 1)


# --- how a rollout ends ---------------------------------------------------------------------------------------


def ends(tree: Tree, index: int) -> tuple[Terminal | None, float | None, int, float]:
    node = tree[index]
    return node.terminal, node.reward, node.visit_count, node.value_sum


@pytest.mark.parametrize(
    ("texts", "terminal"),
    [
        ([FAILING, code("raise")], Terminal.CODE_ERROR),
        ([NO_STEP, answer("5")], Terminal.UNPARSABLE),
        ([NO_STEP, FAILING], Terminal.NO_VALID_CANDIDATE),
    ],
)
def test_a_node_without_a_valid_candidate_is_a_failed_end_and_backed_up(texts: list[str], terminal: Terminal) -> None:
    tree = grow({("q",): [code("a")], ("q", "a"): texts}, num_rollouts=3)
    assert ends(tree, find(tree, "a")) == (terminal, -1.0, 3, -3.0)
    assert (tree[ROOT].visit_count, tree[ROOT].value_sum) == (3, -3.0)


def test_a_root_without_a_valid_candidate_is_a_failed_end() -> None:
    tree = grow({("q",): [FAILING]}, num_rollouts=3)
    assert ends(tree, ROOT) == (Terminal.CODE_ERROR, -1.0, 3, -3.0)
    assert len(tree.nodes) == 1


def test_a_failed_end_is_not_expanded_again() -> None:
    policy = Listening({("q",): [FAILING]})
    grow({}, policy=policy, num_rollouts=5)
    assert len(policy.calls) == 1


def test_a_path_of_max_depth_steps_without_an_answer_is_a_failed_end() -> None:
    policy = Listening(lambda question, prefix: [code(f"n = {len(prefix)}")])
    tree = grow({}, policy=policy, max_depth=3, num_rollouts=2)
    assert ends(tree, 3) == (Terminal.MAX_DEPTH, -1.0, 2, -2.0)
    assert len(tree.nodes) == 4
    assert len(policy.calls) == 3


def test_an_answer_at_max_depth_is_an_answer() -> None:
    tree = grow(answers(answer("5")), max_depth=2)
    assert ends(tree, 2) == (Terminal.ANSWERED, 1.0, 4, 4.0)


def test_an_answer_without_a_box_is_a_failed_end_and_its_siblings_are_not() -> None:
    tree = grow(answers("<answer>It is 5.<end_of_answer>", answer("5")), num_rollouts=2)
    assert ends(tree, find(tree, "print(5)", "It is 5.")) == (Terminal.UNPARSABLE, -1.0, 1, -1.0)
    assert ends(tree, find(tree, "print(5)", boxed("5"))) == (Terminal.ANSWERED, 1.0, 1, 1.0)


def test_an_answer_drops_none_of_its_siblings() -> None:
    tree = grow(answers(answer("5"), answer("6"), answer("7")), num_candidates=3)
    assert bodies(tree, find(tree, "print(5)")) == [boxed("5"), boxed("6"), boxed("7")]
    assert [tree[child].answer for child in tree[1].children] == ["5", "6", "7"]


def test_every_child_is_tried_before_one_is_tried_again() -> None:
    tree = grow(answers(answer("5"), answer("6"), answer("7")), num_candidates=3, num_rollouts=3)
    assert [tree[child].visit_count for child in tree[1].children] == [1, 1, 1]


def test_an_answer_that_no_grader_could_tell_is_worth_nothing() -> None:
    tree = grow(answers(answer("?")), num_rollouts=3)
    assert ends(tree, 2) == (Terminal.ANSWERED, 0.0, 3, 0.0)


def test_an_end_is_judged_once() -> None:
    asked: list[str] = []

    async def judge(text: str, score: float) -> float:
        asked.append(text)
        return 1.0

    grow(SHORT, judge=judge, num_rollouts=8)
    assert sorted(asked) == ["5", "6"]


# --- when the search ends -------------------------------------------------------------------------------------


def test_extra_rollouts_are_for_the_unsolved() -> None:
    assert grow(SHORT, judge=truth(), num_rollouts=3, extra_rollouts=4).num_rollouts == 7
    assert grow(SHORT, judge=truth("5", "6"), num_rollouts=3, extra_rollouts=4).num_rollouts == 3


def test_mixed_rollouts_are_for_trees_with_right_and_wrong_ends_which_are_never_settled() -> None:
    more: dict[str, Any] = {"num_rollouts": 4, "mixed_rollouts": 3, "settled_after": 2}
    assert grow(SHORT, judge=truth("5"), **more).num_rollouts == 7
    assert grow(SHORT, judge=truth("5"), **{**more, "mixed_rollouts": 0, "settled_after": None}).num_rollouts == 4
    assert grow(answers(answer("5")), judge=truth("5"), **more).num_rollouts == 2


def test_extra_rollouts_end_with_the_first_solution() -> None:
    """The guide sends the first three rollouts to three wrong answers."""
    texts = answers(*map(answer, "6785"))
    guide = priors({boxed("6"): 0.9, boxed("7"): 0.8, boxed("8"): 0.7, boxed("5"): -0.9})
    tree = grow(texts, guide=guide, num_candidates=4, num_rollouts=1, extra_rollouts=20)
    assert tree.num_rollouts == 4


def test_an_undecided_answer_is_no_solution() -> None:
    assert grow(answers(answer("?")), num_rollouts=1, extra_rollouts=2).num_rollouts == 3


def test_a_settled_search_stops() -> None:
    assert grow(answers(answer("6")), num_rollouts=20, settled_after=3).num_rollouts == 3


def test_a_settled_search_asks_for_no_extra_rollouts() -> None:
    assert grow(answers(answer("6")), num_rollouts=3, extra_rollouts=9, settled_after=3).num_rollouts == 3


def test_different_answers_do_not_settle_a_search() -> None:
    """Two wrong answers are tried in turns."""
    assert grow(answers(answer("6"), answer("7")), num_rollouts=6, settled_after=3).num_rollouts == 6


def test_failures_do_not_settle_a_search() -> None:
    assert grow({("q",): [FAILING]}, num_rollouts=6, settled_after=2).num_rollouts == 6


# --- the guide ------------------------------------------------------------------------------------------------


def test_the_guides_score_enters_q_once() -> None:
    guide = priors({"print(5)": 0.5, boxed("5"): 0.25})
    tree = grow(answers(answer("5")), guide=guide, num_rollouts=4).freeze("q", "r3", 0)
    assert [node.initial_value for node in tree.nodes] == [0.0, 0.5, 0.25]
    assert [node.q_value for node in tree.nodes] == [1.0, 4.5 / 4, 4.25 / 4]


def test_the_guide_picks_the_first_rollout() -> None:
    for seed in range(10):
        tree = grow(SHORT, guide=priors({boxed("6"): 0.1}), num_rollouts=1, seed=seed)
        assert tree[find(tree, "print(5)", boxed("6"))].visit_count == 1


def test_the_guide_scores_what_is_kept_with_its_output() -> None:
    guide = Watching()
    grow({**SHORT, ("q",): [FAILING, end("print(5)")]}, guide=guide)
    shown = Step(StepKind.CODE_END, "print(5)", "5\n")
    replies = [Step(StepKind.ANSWER, boxed("5")), Step(StepKind.ANSWER, boxed("6"))]
    assert guide.calls == [((), [shown]), ((shown,), replies)]


def test_at_test_time_an_answer_is_worth_what_the_guide_says() -> None:
    guide = priors({boxed("5"): -0.5, boxed("6"): 0.75})
    tree = grow(SHORT, guide=guide, judge=guides_judge, num_rollouts=8)
    assert [tree[child].reward for child in tree[1].children] == [-0.5, 0.75]
    assert tree[3].visit_count > tree[2].visit_count > 0


def test_no_truth_reaches_a_search() -> None:
    """What it is given of a problem has no answer, and a judge is told nothing but what the tree says."""
    assert {field.name for field in fields(Question)} == {"id", "text"}
    assert list(inspect.signature(guides_judge).parameters) == ["answer", "score"]
    assert inspect.get_annotations(search, eval_str=True)["question"] is Question
    assert {field.name for field in fields(Parts)} == {"policy", "guide", "sandbox", "judge"}


# --- the same again -------------------------------------------------------------------------------------------


def test_the_same_seed_grows_the_same_tree() -> None:
    assert grow_wild(seed=7).nodes == grow_wild(seed=7).nodes


def test_another_seed_grows_another_tree() -> None:
    assert len({str(grow_wild(seed=seed).nodes) for seed in range(5)}) == 5


def test_the_seed_breaks_ties_among_the_same_candidates() -> None:
    first = {grow(SHORT, num_rollouts=1, seed=seed)[2].visit_count for seed in range(20)}
    assert first == {0, 1}


def grow_wild(seed: int) -> Tree:
    def script(question: Question, prefix: Sequence[Step]) -> list[str]:
        if any(step.kind is StepKind.CODE_END for step in prefix):
            return [answer("5"), answer("6")]
        return [code("a"), code("b"), end("c"), end("d"), code("raise")]

    return grow(script, is_drawn=True, seed=seed, num_candidates=4, num_rollouts=12)


def test_equal_texts_with_different_ids_stay_apart() -> None:
    other = Question("other", QUESTION.text)
    policy = ScriptedPolicy(by_prefix({**SHORT, ("other",): [end("print(6)")], ("other", "print(6)"): [answer("6")]}))
    sandbox = ToySandbox()

    async def both() -> list[Tree]:
        parts = [Parts(policy, priors({}), sandbox, truth(right)) for right in ("5", "6")]
        return await asyncio.gather(
            search(QUESTION, parts[0], Budget(**BUDGET), 1), search(other, parts[1], Budget(**BUDGET), 1)
        )

    mine, its = asyncio.run(both())
    assert (bodies(mine), bodies(its)) == (["print(5)"], ["print(6)"])
    assert its[ROOT].value_sum == its[ROOT].visit_count == 4
    frozen = mine.freeze(QUESTION.id, "r1", 0), its.freeze(other.id, "r1", 0)
    assert [tree.problem_id for tree in frozen] == ["q", "other"]


# --- the real sandbox -----------------------------------------------------------------------------------------


def test_real_code_runs_from_its_parents_state() -> None:
    limits = SandboxLimits(wall_seconds=5.0, cpu_seconds=2, memory_mib=256, max_output_chars=200)
    script = {
        ("q",): [code("n = 2"), code("n = 1 / 0")],
        ("q", "n = 2"): [end("print(n + 3)"), end("print(m)")],
        ("q", "n = 2", "print(n + 3)"): [answer("5")],
    }

    async def work() -> Tree:
        async with ForkSandbox(limits, num_servers=1) as sandbox:
            assert (await sandbox.run(["n = 2"], "print(m)")).status is Status.ERROR
            parts = Parts(ScriptedPolicy(by_prefix(script)), priors({}), sandbox, truth("5"))
            return await search(QUESTION, parts, Budget(**BUDGET), 1)

    tree = asyncio.run(work())
    assert [bodies(tree, index) for index in range(3)] == [["n = 2"], ["print(n + 3)"], [boxed("5")]]
    assert tree.prefix(3)[1].output == "5\n"
    assert ends(tree, 3) == (Terminal.ANSWERED, 1.0, 4, 4.0)


def test_no_room_for_a_step_is_a_reason_of_its_own() -> None:
    """An engine has no candidates where the text so far is too long for it."""

    class Full(ScriptedPolicy):
        async def propose(
            self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
        ) -> list[Candidate]:
            if prefix:
                return []
            return await super().propose(question, prefix, num_candidates=num_candidates, seed=seed)

    parts = Parts(Full(by_prefix({("q",): [code("a")]})), priors({}), ToySandbox(), truth("5"))
    tree = asyncio.run(search(QUESTION, parts, Budget(**BUDGET), 1))
    assert [node.terminal for node in tree.nodes] == [None, Terminal.TOO_LONG]
    assert tree.nodes[1].reward == -1
    assert tree.freeze("q", "r1", 0).has_too_long


# --- engines that remember ------------------------------------------------------------------------------------


class Listening(ScriptedPolicy):
    """A scripted policy that keeps (prefix, seed) of each call."""

    def __init__(self, script: object) -> None:
        super().__init__(by_prefix(script) if isinstance(script, dict) else script)
        self.calls: list[tuple[tuple[Step, ...], int]] = []

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        self.calls.append((tuple(prefix), seed))
        return await super().propose(question, prefix, num_candidates=num_candidates, seed=seed)


class Watching:
    """A guide that keeps (prefix, steps) of each call and likes them all alike."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Step, ...], list[Step]]] = []

    async def score(self, question: Question, prefix: Sequence[Step], steps: Sequence[Step]) -> list[float]:
        self.calls.append((tuple(prefix), list(steps)))
        return [0.0] * len(steps)
