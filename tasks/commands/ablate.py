"""ORM, PQM and PPM from the same trees of a round (the paper's ablation of rewards), compared on unseen problems."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.config import Params
from rstar_core.curation.pairs import split_by_problem
from rstar_core.errors import UserError
from rstar_core.io import read_pairs, read_problems, read_trajectories, write_json
from rstar_core.journal.checkpoints import checkpoint_folder
from rstar_core.journal.key import journal_key
from rstar_core.policy.model import load_tokenizer
from rstar_core.ppm.model import load_ppm, new_ppm
from rstar_core.ppm.rendering import EncodedNode, encode_nodes, encode_steps
from rstar_core.reports.markdown import aligned
from rstar_core.reports.rounds import percent
from rstar_core.shards import stream_trees
from rstar_core.training.preferences import pair_accuracy, scores_of, train_ppm
from rstar_core.training.regression import train_pqm, valued_rows
from rstar_core.types import Question, Trajectory
from tasks.runner.workspace import ARTIFACTS, PROBLEMS

BASELINE = "any"


@dataclass(frozen=True, slots=True)
class Round:
    """A finished round: where it lies, and what all of its rewards are made from and measured on."""

    folder: Path
    params: Params
    questions: Mapping[str, Question]
    held_out: set[str]  # problems whose pairs are for validation
    validation: Sequence[EncodedNode]
    solutions: Mapping[str, Sequence[Trajectory]]  # right and wrong ones, by held-out problem that has both

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    def new_ppm(self) -> Any:
        params = self.params.train_ppm
        return new_ppm(self.policy, "float32", self.params.seed, params.extra_layers, params.frozen_layers)


def ablate(round_id: str, params: Params) -> dict[str, dict[str, float | None]]:
    """Train an ORM and a PQM beside the round's PPM, with its settings, from its policy, trees and pairs.

    By reward: the accuracy on validation pairs (``step``, ``final``), and ``best_of_n``: the share of validation
    problems whose best-scored solution is right, of those with right and wrong ones; ``any`` is a random solution.
    Written to ``artifacts/<round>/ablation.json`` too.

    Raises:
        UserError: the round is not finished, or has no problem to measure on.
    """
    its = read_round(round_id, params)
    rewards = {"ORM": orm(its, round_id), "PQM": pqm(its, round_id), "PPM": load_ppm(its.folder / "ppm", "float32")}
    found: dict[str, dict[str, float | None]] = {name: measured(model.eval(), its) for name, model in rewards.items()}
    shares = [sum(one.is_correct for one in some) / len(some) for some in its.solutions.values()]
    found[BASELINE] = {"step": None, "final": None, "best_of_n": sum(shares) / len(shares)}
    write_json(its.folder / "ablation.json", {"num_problems": len(shares), **found})
    return found


def table(found: Mapping[str, Mapping[str, float | None]]) -> str:
    names = {"step": "step pairs", "final": "final pairs", "best_of_n": "best of n"}
    lines = [[reward, *(percent(values[name]) for name in names)] for reward, values in found.items()]
    return aligned([["reward", *names.values()], *lines])


def read_round(round_id: str, params: Params) -> Round:
    folder = ARTIFACTS / round_id
    if not (folder / "ppm").exists():
        raise UserError(f"{folder / 'ppm'}: not found; run the round first: dvc repro summarize@{round_id}")
    problems = read_problems(PROBLEMS / "train.parquet")
    questions = {problem.id: problem.question for problem in problems}
    held_out = split_by_problem(questions, params.curate.validation_fraction, params.seed)
    solutions: dict[str, list[Trajectory]] = {}
    for one in read_trajectories(folder / "trajectories" / "trajectories.parquet"):
        solutions.setdefault(one.problem_id, []).append(one)
    mixed = {
        key: some
        for key, some in solutions.items()
        if key in held_out and {one.is_correct for one in some} == {True, False}
    }
    if not mixed:
        raise UserError(f"{folder}: no validation problem has right and wrong solutions; nothing to compare on")
    return Round(folder, params, questions, held_out, read_nodes(folder, "validation", questions, params), mixed)


def read_nodes(folder: Path, name: str, questions: Mapping[str, Question], params: Params) -> list[EncodedNode]:
    pairs = read_pairs(folder / "pairs" / f"{name}.parquet")
    return encode_nodes(load_tokenizer(folder / "policy"), questions, pairs, params.train_ppm.training.max_length)


def orm(its: Round, round_id: str) -> Any:
    """Pairs of whole solutions alone: an outcome reward model (paper 4.3)."""
    tokenizer, params = load_tokenizer(its.policy), its.params
    nodes = read_nodes(its.folder, "train", its.questions, params)
    model = its.new_ppm()
    with checkpoint_folder(_key("ablate-orm", its, round_id)) as scratch:
        final = [node for node in nodes if node.is_final]
        train_ppm(model, tokenizer, final, [], params.train_ppm, params.seed, scratch)
    return model


def pqm(its: Round, round_id: str) -> Any:
    """The Q of every visited step, by regression."""
    tokenizer, training = load_tokenizer(its.policy), its.params.train_ppm.training
    trees = (tree for tree in stream_trees(its.folder / "trees") if tree.problem_id not in its.held_out)
    rows = [row for tree in trees for row in valued_rows(tokenizer, its.questions, tree, training.max_length)]
    random.Random(its.params.seed).shuffle(rows)
    model = its.new_ppm()
    with checkpoint_folder(_key("ablate-pqm", its, round_id)) as scratch:
        train_pqm(model, tokenizer, rows, training, its.params.seed, scratch)
    return model


def _key(what: str, its: Round, round_id: str) -> Any:
    inputs = (its.policy, its.folder / "pairs", its.folder / "trees")
    return journal_key(what, round_id, inputs, {"seed": its.params.seed, "train_ppm": its.params.train_ppm})


def measured(model: Any, its: Round) -> dict[str, float | None]:
    tokenizer = load_tokenizer(its.policy)
    accuracy = pair_accuracy(model, tokenizer.pad_token_id, its.validation)
    right = []
    for problem_id, some in its.solutions.items():
        rows = [tuple(encode_steps(tokenizer, its.questions[problem_id], one.steps)) for one in some]
        (scores,) = scores_of(model, tokenizer.pad_token_id, [rows])
        right.append(some[max(range(len(some)), key=scores.__getitem__)].is_correct)
    return {"step": accuracy.step, "final": accuracy.final, "best_of_n": sum(right) / len(right)}
