"""A round's verified search results + earlier rounds' data -> SFT set and preference pairs (paper 3.2 and 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from rstar_core.config import Curate, Seed
from rstar_core.curation.pairs import final_pairs, is_final, node_pairs, split_by_problem
from rstar_core.io import (
    LEDGER,
    digest,
    read_pairs,
    read_problems,
    read_sft_examples,
    read_table,
    read_trajectories,
    write_pairs,
    write_sft_examples,
)
from rstar_core.publishing import publish_folder
from rstar_core.reports.cards import DEMONSTRATION, Difficulty, Facts, pairs_card, sft_card
from rstar_core.seeds import derived_seed
from rstar_core.shards import stream_trees
from rstar_core.types import PreferencePair, Problem, SearchTree, SftExample, Step, Terminal, Trajectory

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a round says of one problem: verified trajectories, and trees with the verdicts on their leaves."""

    trajectories: Sequence[Trajectory]
    judged_trees: Sequence[tuple[SearchTree, dict[int, bool]]]


def curate(
    *,
    round_id: str,
    problems: Path,
    trees: Path,
    trajectories: Path,
    earlier_sft: Path,
    earlier_pairs: Path,
    sft: Path,
    pairs: Path,
    seed: Seed,
    curate: Curate,
) -> dict[str, Any]:
    """Make the data that the round's policy and PPM are trained on, each set with a card.

    ``sft/train.parquet``: demonstrations (origin ``r0``), then for each problem its ``top_k`` verified correct
    solutions by mean Q; earlier rounds' fill what this round leaves open. ``pairs/train.parquet`` and
    ``pairs/validation.parquet``: the round's pairs and earlier ones. Which problems are for validation is drawn among
    all of them, with pairs or without, so that a problem is on the same side in every round. The policy learns nothing
    of these either: a PPM begins as the policy, and would know their solutions.
    What is kept of demonstrations and earlier rounds is drawn by problem, with the same luck in every round. It runs no
    code and no model, a matter of seconds, so it starts anew after an interruption.

    Metrics: ``num_sft`` = ``num_demonstrations`` + ``num_from_round`` + ``num_from_earlier``; ``num_pairs`` =
    ``num_inner_pairs`` + ``num_final_pairs``, ``num_validation_pairs`` of them; ``num_easy``, ``num_medium`` and
    ``num_hard`` problems.

    Raises:
        UserError: an input is missing or unreadable.
    """
    its_problems = read_problems(problems)
    evidence = read_evidence(its_problems, trees, trajectories)
    held_out = split_by_problem((problem.id for problem in its_problems), curate.validation_fraction, seed)
    seen = [problem for problem in its_problems if problem.id not in held_out]
    examples = mix_examples(round_id, seen, evidence, read_sft_examples(earlier_sft / "train.parquet"), seed, curate)
    earlier = [pair for name in ("train", "validation") for pair in read_pairs(earlier_pairs / f"{name}.parquet")]
    train, validation = split(mix_pairs(round_id, its_problems, evidence, earlier, seed, curate), held_out)
    facts = Facts(
        round_id=round_id,
        problems=its_problems,
        trajectories=[one for its in evidence.values() for one in its.trajectories],
        difficulty={problem_id: difficulty(its) for problem_id, its in evidence.items()},
        parents={str(path): digest(path) for path in (problems, trees, trajectories, earlier_sft, earlier_pairs)},
    )
    with publish_folder(sft) as folder:
        write_sft_examples(folder / "train.parquet", examples)
        (folder / "card.md").write_text(sft_card(facts, examples), encoding="utf-8")
    with publish_folder(pairs) as folder:
        write_pairs(folder / "train.parquet", train)
        write_pairs(folder / "validation.parquet", validation)
        (folder / "card.md").write_text(pairs_card(facts, train, validation), encoding="utf-8")
    return _metrics(facts, examples, train, validation)


def _metrics(
    facts: Facts,
    examples: Sequence[SftExample],
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
) -> dict[str, int]:
    origins = Counter(example.origin for example in examples)
    difficulties = Counter(facts.difficulty.values())
    num_final_pairs = sum(map(is_final, [*train, *validation]))
    return {
        "num_sft": len(examples),
        "num_demonstrations": origins[DEMONSTRATION],
        "num_from_round": origins[facts.round_id],
        "num_from_earlier": len(examples) - origins[DEMONSTRATION] - origins[facts.round_id],
        "num_pairs": len(train) + len(validation),
        "num_inner_pairs": len(train) + len(validation) - num_final_pairs,
        "num_final_pairs": num_final_pairs,
        "num_validation_pairs": len(validation),
        **{f"num_{name}": difficulties[name] for name in Difficulty},
    }


# --- evidence -------------------------------------------------------------------------------------------------


def read_evidence(problems: Iterable[Problem], trees: Path, trajectories: Path) -> dict[str, Evidence]:
    """The evidence on every problem, in the problems' order; empty where there is none."""
    grown = _grouped(stream_trees(trees), lambda tree: tree.problem_id)
    verified = _grouped(read_trajectories(trajectories / "trajectories.parquet"), lambda one: one.problem_id)
    ledger = read_table(trajectories / "ledger.parquet", LEDGER)
    doubted = {(row["problem_id"], row["tree_index"], row["leaf"]) for row in ledger}
    return {problem.id: weigh(grown.get(problem.id, []), verified.get(problem.id, []), doubted) for problem in problems}


def weigh(
    trees: Sequence[SearchTree], trajectories: Sequence[Trajectory], doubted: Collection[tuple[str, int, int]]
) -> Evidence:
    """The evidence on one problem. ``doubted`` are (problem, tree, leaf) whose verdict did not stand."""
    verified = {one.steps: one.is_correct for one in trajectories}
    doubtful = {
        tree.steps(leaf)
        for tree in trees
        for leaf in range(len(tree.nodes))
        if (tree.problem_id, tree.tree_index, leaf) in doubted
    }
    return Evidence(trajectories, [(tree, leaf_verdicts(tree, verified, doubtful)) for tree in trees])


def leaf_verdicts(
    tree: SearchTree, verified: Mapping[tuple[Step, ...], bool], doubtful: Collection[tuple[Step, ...]]
) -> dict[int, bool]:
    """Which leaves are right and which are wrong; those of which that can't be said are left out.

    Verification has the last word, whichever tree it looked at. What it did not look at for want of places, and what
    has no answer at all, is wrong where the search says so, but never right.
    """
    found = {}
    for leaf, node in enumerate(tree.nodes):
        if node.reward is None:
            continue
        steps = tree.steps(leaf)
        if steps in verified:
            found[leaf] = verified[steps]
        elif node.reward < 0 and steps not in doubtful:
            found[leaf] = False
    return found


def difficulty(evidence: Evidence) -> Difficulty:
    """By the answers with a verdict; a problem without one is hard."""
    verdicts = {
        is_right
        for tree, verdicts in evidence.judged_trees
        for leaf, is_right in verdicts.items()
        if tree.nodes[leaf].terminal is Terminal.ANSWERED
    }
    if True not in verdicts:
        return Difficulty.HARD
    return Difficulty.MEDIUM if False in verdicts else Difficulty.EASY


# --- examples -------------------------------------------------------------------------------------------------


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
    found = _grouped((one for one in earlier if one.origin != DEMONSTRATION), lambda one: one.question.id)
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


# --- pairs ----------------------------------------------------------------------------------------------------


def mix_pairs(
    round_id: str,
    problems: Iterable[Problem],
    evidence: Mapping[str, Evidence],
    earlier: Iterable[PreferencePair],
    seed: int,
    curate: Curate,
) -> list[PreferencePair]:
    """The pairs of each problem, this round's before earlier ones."""
    found = _grouped(earlier, lambda pair: pair.problem_id)
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


# --- draws ----------------------------------------------------------------------------------------------------


def is_drawn(share: float, seed: int, *names: str) -> bool:
    """Whether ``names`` are among the ``share`` that is kept. What a smaller share keeps, a larger one keeps too."""
    return derived_seed(seed, *names) < share * 2**63


def _grouped(items: Iterable[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
