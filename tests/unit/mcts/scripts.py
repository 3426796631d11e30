"""Searches that need no model: texts as a policy writes them, a sandbox that runs nothing, and one call for a tree."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from rstar_core.engines.base import PolicyEngine, RewardEngine, ZeroReward
from rstar_core.engines.scripted import Script, ScriptedPolicy, ScriptedReward, by_prefix
from rstar_core.mcts.search import Budget, Judge, Parts, search
from rstar_core.mcts.tree import Tree
from rstar_core.sandbox.base import Outcome, Sandbox, Status
from rstar_core.types import Question

QUESTION = Question("q", "What is 2 + 3?")
BUDGET: dict[str, Any] = {
    "num_candidates": 2,
    "num_rollouts": 4,
    "extra_rollouts": 0,
    "max_depth": 16,
    "uct_c": 2.0,
    "settled_after": None,
}


def code(body: str) -> str:
    return f"{body}\n<end_of_step>"


def end(body: str) -> str:
    return f"{body}\n<end_of_code>"


def answer(value: str) -> str:
    return f"<answer>{boxed(value)}<end_of_answer>"


def boxed(value: str) -> str:
    """The body of ``answer``'s step."""
    return f"\\boxed{{{value}}}"


class ToySandbox:
    """Code that says ``raise`` fails; ``print(x)`` prints the text x. ``runs`` are the calls so far."""

    level = "toy"

    def __init__(self) -> None:
        self.runs: list[tuple[tuple[str, ...], str]] = []

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        self.runs.append((tuple(parents), code))
        if "raise" in code:
            return Outcome(Status.ERROR, "", "RuntimeError: as the script says", 0.0, 0.0)
        printed = [line[len("print(") : -1] for line in code.splitlines() if line.startswith("print(")]
        return Outcome(Status.OK, "".join(f"{text}\n" for text in printed), "", 0.0, 0.0)


def truth(*right: str) -> Judge:
    """+1 for the right answers, 0 for "?", which no grader could tell, -1 for others."""

    async def judge(answer: str, score: float) -> float:
        return 1.0 if answer in right else 0.0 if answer == "?" else -1.0

    return judge


def priors(scores: Mapping[str, float]) -> ScriptedReward:
    """A guide that knows steps by their bodies; others get 0."""
    return ScriptedReward(lambda question, prefix, step: scores.get(step.body, 0.0))


def grow(
    script: Script | Mapping[tuple[str, ...], Sequence[str]],
    *,
    guide: RewardEngine | None = None,
    judge: Judge | None = None,
    sandbox: Sandbox | None = None,
    policy: PolicyEngine | None = None,
    question: Question = QUESTION,
    seed: int = 1,
    is_drawn: bool = False,
    **budget: Any,
) -> Tree:
    """One finished tree: the terminal guide, the truth "5" and ``BUDGET`` unless told otherwise."""
    speaker = policy or ScriptedPolicy(by_prefix(script) if isinstance(script, Mapping) else script, is_drawn=is_drawn)
    parts = Parts(speaker, guide or ZeroReward(), sandbox or ToySandbox(), judge or truth("5"))
    return asyncio.run(search(question, parts, Budget(**{**BUDGET, **budget}), seed))


def bodies(tree: Tree, parent: int = 0) -> list[str]:
    """What the children of a node say, in order."""
    return [step.body for child in tree[parent].children if (step := tree[child].step) is not None]


def find(tree: Tree, *path: str) -> int:
    """The index of the node at the end of these step bodies, from the root."""
    index = 0
    for body in path:
        (index,) = (c for c in tree[index].children if (step := tree[c].step) is not None and step.body == body)
    return index
