"""The ways of answering a question that are compared: the policy alone, flat samples, and System 2 (paper 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rstar_core.config import Evaluate, Search
from rstar_core.engines.base import Models, PolicyEngine, RewardEngine, ZeroReward
from rstar_core.mcts.search import Budget

GREEDY, FLAT, SYSTEM = "greedy", "flat", "system"


@dataclass(frozen=True, slots=True)
class Method:
    """A way to answer: ``num_trees`` searches for each problem, guided by a model and never by the truth."""

    name: str
    policy: PolicyEngine
    guide: RewardEngine
    budget: Budget
    num_trees: int


def num_trees_by_method(evaluate: Evaluate, has_system: bool) -> dict[str, int]:
    """Trees for each problem, by method, in their order; flat samples are as many as System 2's trees have rollouts."""
    if not has_system:
        return {GREEDY: 1}
    return {GREEDY: 1, FLAT: evaluate.num_trees * evaluate.num_rollouts, SYSTEM: evaluate.num_trees}


def methods(models: Models, ppm: Path | None, search: Search, evaluate: Evaluate) -> list[Method]:
    """Greedy is a search of one candidate and one rollout, as is a flat sample; without a PPM there is greedy alone."""
    num_trees = num_trees_by_method(evaluate, ppm is not None)
    one = Budget(1, 1, 0, search.max_depth, search.uct_c, None)
    greedy = models.policy(0.0, 1.0, search.max_step_tokens)
    alone = Method(GREEDY, greedy, ZeroReward(), one, num_trees[GREEDY])
    if ppm is None:
        return [alone]
    budget = Budget(
        num_candidates=evaluate.num_candidates,
        num_rollouts=evaluate.num_rollouts,
        extra_rollouts=0,
        max_depth=search.max_depth,
        uct_c=search.uct_c,
        settled_after=search.settled_after,
        num_parallel_leaves=search.num_parallel_leaves,
    )
    sampler = models.policy(evaluate.temperature, search.top_p, search.max_step_tokens)
    flat = Method(FLAT, sampler, ZeroReward(), one, num_trees[FLAT])
    return [alone, flat, Method(SYSTEM, sampler, models.guide("ppm", ppm), budget, num_trees[SYSTEM])]
