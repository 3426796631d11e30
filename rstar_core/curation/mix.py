"""The data that a round trains on: its own first, then demonstrations and earlier rounds' (paper 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from rstar_core.config import Curate
from rstar_core.curation.evidence import Evidence
from rstar_core.curation.order import by_problem
from rstar_core.curation.pairs import final_pairs, node_pairs
from rstar_core.io import stream_pairs, stream_sft_examples
from rstar_core.seeds import derived_seed
from rstar_core.types import DEMONSTRATION, PreferencePair, Problem, SftExample, Step, Trajectory


def demonstrations(sft: Path, seed: int, curate: Curate) -> Iterator[SftExample]:
    """Those of an earlier round's set that are kept; they come before all others."""
    for example in stream_sft_examples(sft / "train.parquet"):
        if example.origin != DEMONSTRATION:
            return
        if is_drawn(curate.demonstrations, seed, "demonstrations", example.question.id):
            yield example


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier rounds have for one problem, as far as it goes along."""

    examples: Sequence[SftExample]
    pairs: Sequence[PreferencePair]


def stream_earlier(problems: Sequence[Problem], sft: Path, pairs: Path, seed: int, curate: Curate) -> Iterator[Earlier]:
    """Of every problem, in the problems' order."""
    found = (one for one in stream_sft_examples(sft / "train.parquet") if one.origin != DEMONSTRATION)
    examples = by_problem(problems, found, lambda one: one.question.id, "SFT examples")
    sides = [
        by_problem(problems, stream_pairs(pairs / f"{name}.parquet"), lambda one: one.problem_id, "pairs")
        for name in ("train", "validation")
    ]
    for (problem, its), *its_pairs in zip(examples, *sides, strict=True):
        is_kept = is_drawn(curate.keep_earlier_rounds, seed, "earlier", problem.id)
        yield Earlier(its, list(chain.from_iterable(one for _, one in its_pairs))) if is_kept else Earlier((), ())


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


def new_pairs(round_id: str, evidence: Evidence, curate: Curate) -> list[PreferencePair]:
    """One problem's pairs. Their keys name the round, so that rounds can share a file."""
    numbers = curate.num_positives, curate.num_negatives
    judged = evidence.judged_trees
    inner = (pair for tree, verdicts in judged for pair in node_pairs(tree, verdicts, *numbers, curate.min_visits))
    final = final_pairs(evidence.trajectories, *numbers)
    return [replace(pair, node_key=f"{round_id}/{pair.node_key}") for pair in (*inner, *final)]


def is_drawn(share: float, seed: int, *names: str) -> bool:
    """Whether ``names`` are among the ``share`` that is kept. What a smaller share keeps, a larger one keeps too."""
    return derived_seed(seed, *names) < share * 2**63
