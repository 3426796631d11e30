"""Problem -> tree -> trajectory -> example and pair -> checkpoint -> metric: does each come from the one before it?

That a stage ran on the files that are here now, dvc.lock says; this looks into them. Each function yields a line for
each thing that it looks at, empty where nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rstar_core.curation.pairs import FINAL
from rstar_core.errors import UserError
from rstar_core.io import (
    read_json,
    read_pairs,
    read_predictions,
    read_problems,
    read_sft_examples,
    read_trajectories,
)
from rstar_core.shards import MANIFEST, stream_trees
from rstar_core.types import DEMONSTRATION, PreferencePair, SearchTree, SftExample, Trajectory
from tasks.runner.workspace import ARTIFACTS, PROBLEMS

# --- rows -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Round:
    """What is known of a round so far. ``sizes``: nodes of each tree; ``solved``: what is right, with its steps."""

    round_id: str
    problems: set[str]
    sizes: dict[tuple[str, int], int] = field(default_factory=dict)
    solved: set[tuple[str, Any]] = field(default_factory=set)

    def tree_fault(self, tree: SearchTree) -> str:
        place = (tree.problem_id, tree.tree_index)
        name = f"{ARTIFACTS}/{self.round_id}/trees: tree {tree.tree_index} of problem {tree.problem_id}"
        is_doubled = place in self.sizes
        self.sizes[place] = len(tree.nodes)
        if tree.problem_id not in self.problems:
            return f"{name}: no such problem"
        if tree.round_id != self.round_id:
            return f"{name}: it is of round {tree.round_id}"
        return f"{name}: there twice" if is_doubled else ""

    def trajectory_fault(self, path: Path, one: Trajectory) -> str:
        if one.is_correct:
            self.solved.add((one.problem_id, one.steps))
        if 0 < one.leaf < self.sizes.get((one.problem_id, one.tree_index), 0):
            return ""
        return f"{path}: leaf {one.leaf} of tree {one.tree_index} of problem {one.problem_id} is in no tree"

    def example_fault(self, path: Path, one: SftExample) -> str:
        """Demonstrations come from problems of their own, and earlier rounds' examples from their trajectories."""
        if one.origin == DEMONSTRATION:
            return ""
        if one.question.id not in self.problems:
            return f"{path}: problem {one.question.id} is not among the training problems"
        if one.origin == self.round_id and (one.question.id, one.steps) not in self.solved:
            return f"{path}: an example of problem {one.question.id} is no correct trajectory of {self.round_id}"
        return ""

    def pair_fault(self, path: Path, one: PreferencePair) -> str:
        if one.problem_id not in self.problems:
            return f"{path}: problem {one.problem_id} is not among the training problems"
        round_id, _, place = one.node_key.partition("/")
        if round_id != self.round_id or place == FINAL:  # an inner pair's key goes on with its tree and node
            return ""
        tree, _, node = place.partition("/")
        if int(node) < self.sizes.get((one.problem_id, int(tree)), 0):
            return ""
        return f"{path}: node {node} of tree {tree} of problem {one.problem_id} is in no tree"


def rows() -> Iterator[str]:
    """Trees, trajectories, examples and pairs, round by round."""
    train = PROBLEMS / "train.parquet"
    if not train.exists():
        return
    known = {problem.id for problem in read_problems(train)}
    for trees in sorted(ARTIFACTS.glob(f"*/trees/{MANIFEST}")):
        try:
            yield from _rows_of(_Round(trees.parents[1].name, known))
        except UserError as error:
            yield str(error)


def _rows_of(its: _Round) -> Iterator[str]:
    folder = ARTIFACTS / its.round_id
    yield from map(its.tree_fault, stream_trees(folder / "trees"))
    if (path := folder / "trajectories" / "trajectories.parquet").exists():
        yield from (its.trajectory_fault(path, one) for one in read_trajectories(path))
    if (path := folder / "sft" / "train.parquet").exists():
        yield from (its.example_fault(path, one) for one in read_sft_examples(path))
    for path in sorted((folder / "pairs").glob("*.parquet")):
        yield from (its.pair_fault(path, one) for one in read_pairs(path))


# --- checkpoints ----------------------------------------------------------------------------------------------


def checkpoints() -> Iterator[str]:
    """Policies and PPMs: their weights can be read, and a policy's base is the base model that is here."""
    for folder in sorted([*ARTIFACTS.glob("*/policy"), *ARTIFACTS.glob("*/ppm")]):
        try:
            yield _weights_fault(folder) or (_base_fault(folder) if folder.name == "policy" else "")
        except UserError as error:
            yield str(error)


def _weights_fault(folder: Path) -> str:
    from rstar_core.policy.card import read_policy_card
    from rstar_core.ppm.model import is_null_ppm

    if folder.name == "ppm" and is_null_ppm(folder):
        return ""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        is_reference = folder.name == "policy" and read_policy_card(folder).reference is not None
        return "" if is_reference else f"{folder}: no weights; run the stage that makes it again"
    return next(filter(None, map(_unreadable, files)), "")


def _unreadable(file: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return "" if len(tensors.keys()) else f"{file}: holds no weights"
    except SafetensorError as error:
        return f"{file}: not readable ({' '.join(str(error).split())}); run the stage that makes it again"


def _base_fault(policy: Path) -> str:
    from rstar_core.policy.card import read_policy_card

    source = read_policy_card(policy).base
    if source is None or source.sha256 is None or not Path(source.name).is_dir():
        return ""
    if source.sha256 == _digest_of(source.name):
        return ""
    return f"{policy}: was trained from another {source.name} than is here; run its training again"


@cache
def _digest_of(base: str) -> str:
    from rstar_core.policy.folder import weights_digest
    from rstar_core.policy.model import load_model

    return weights_digest(load_model(Path(base), "float32"))


# --- metrics --------------------------------------------------------------------------------------------------


def metrics() -> Iterator[str]:
    """Accuracies that are those of the predictions, on held-out problems, and summaries that say the same."""
    benchmark = PROBLEMS / "benchmark.parquet"
    known = {problem.id for problem in read_problems(benchmark)} if benchmark.exists() else set()
    for path in sorted(ARTIFACTS.glob("*/predictions.parquet")):
        try:
            yield from _metric_faults(path, known)
        except UserError as error:
            yield str(error)


def _metric_faults(path: Path, known: set[str]) -> Iterator[str]:
    from rstar_core.evaluation.accuracies import accuracies

    predictions = read_predictions(path)
    strange = sorted({one.problem_id for one in predictions} - known)
    yield f"{path}: problem {strange[0]} is not among the held-out problems" if strange else ""
    stated = path.parent / "metrics" / "evaluate.json"
    if stated.exists():
        found, says = accuracies(predictions), read_json(stated)
        wrong = [name for name, value in found.items() if says.get(name) != value]
        yield f"{stated}: {wrong[0]} is not what {path} says; run evaluate again" if wrong else ""
