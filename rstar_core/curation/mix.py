"""The data that a round trains on: its own first, then demonstrations and earlier rounds' (paper 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from rstar_core.config import Curate
from rstar_core.curation.evidence import Evidence, grouped
from rstar_core.curation.pairs import final_pairs, node_pairs
from rstar_core.seeds import derived_seed
from rstar_core.types import DEMONSTRATION, PreferencePair, Problem, SftExample, Step, Trajectory


def mix_examples(
    round_id: str,
    problems: Iterable[Problem],
    evidence: Mapping[str, Evidence],
    earlier: Sequence[SftExample],
    seed: int,
    curate: Curate,
) -> list[SftExample]:
    """Demonstrations, then the examples of each problem, this round's before earlier ones."""
    demonstrations = [
        example
        for example in earlier
        if example.origin == DEMONSTRATION
        and is_drawn(curate.demonstrations, seed, "demonstrations", example.question.id)
    ]
    found = grouped((one for one in earlier if one.origin != DEMONSTRATION), lambda one: one.question.id)
    kept = {
        problem_id: its
        for problem_id, its in found.items()
        if is_drawn(curate.keep_earlier_rounds, seed, "earlier", problem_id)
    }
    return demonstrations + [
        example
        for problem in problems
        for example in best_examples(
            round_id, problem, evidence[problem.id].trajectories, kept.get(problem.id, []), curate.top_k
        )
    ]


def best_examples(
    round_id: str, problem: Problem, trajectories: Iterable[Trajectory], earlier: Iterable[SftExample], top_k: int
) -> list[SftExample]:
    """Up to ``top_k`` examples with different steps.

    The round's own come first, by mean Q and then by tree and leaf. ``earlier`` stays as it is: this function has
    ordered it, so it is the newest round's first, and in each by mean Q.
    """
    correct = [one for one in trajectories if one.is_correct]
    correct.sort(key=lambda one: (-one.mean_q, one.tree_index, one.leaf))
    own = (SftExample(problem.question, one.steps, round_id, one.mean_q) for one in correct)
    distinct: dict[tuple[Step, ...], SftExample] = {}
    for example in (*own, *earlier):
        distinct.setdefault(example.steps, example)
    return list(distinct.values())[:top_k]


def mix_pairs(
    round_id: str,
    problems: Iterable[Problem],
    evidence: Mapping[str, Evidence],
    earlier: Iterable[PreferencePair],
    seed: int,
    curate: Curate,
) -> list[PreferencePair]:
    """The pairs of each problem, this round's before earlier ones."""
    found = grouped(earlier, lambda pair: pair.problem_id)
    pairs: list[PreferencePair] = []
    for problem in problems:
        pairs += new_pairs(round_id, evidence[problem.id], curate)
        if is_drawn(curate.keep_earlier_rounds, seed, "earlier", problem.id):
            pairs += found.get(problem.id, [])
    return pairs


def new_pairs(round_id: str, evidence: Evidence, curate: Curate) -> list[PreferencePair]:
    """One problem's pairs. Their keys name the round, so that rounds can share a file."""
    numbers = curate.num_positives, curate.num_negatives
    judged = evidence.judged_trees
    inner = (pair for tree, verdicts in judged for pair in node_pairs(tree, verdicts, *numbers, curate.min_visits))
    final = final_pairs(evidence.trajectories, *numbers)
    return [replace(pair, node_key=f"{round_id}/{pair.node_key}") for pair in (*inner, *final)]


def split(
    pairs: Sequence[PreferencePair], held_out: Collection[str]
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Training pairs, and those of ``held_out`` problems, for validation."""
    return (
        [pair for pair in pairs if pair.problem_id not in held_out],
        [pair for pair in pairs if pair.problem_id in held_out],
    )


def is_drawn(share: float, seed: int, *names: str) -> bool:
    """Whether ``names`` are among the ``share`` that is kept. What a smaller share keeps, a larger one keeps too."""
    return derived_seed(seed, *names) < share * 2**63
