"""Training the PPM on preference pairs with TRL (paper 3.3)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, islice
from math import ceil
from pathlib import Path
from typing import Any

from rstar_core.config import Training, TrainPpm
from rstar_core.errors import UserError
from rstar_core.ppm.model import score_of_logits
from rstar_core.ppm.packing import batches_of_like_width, logits_at_ends, pack, packed_hidden
from rstar_core.ppm.rendering import EncodedNode
from rstar_core.training.launched import fit
from rstar_core.training.on_disk import NODE_GROUPS, dataset_at
from rstar_core.training.sft import TrainingReport, loss_curve
from rstar_core.training.trainers import Plan

_NODES_AT_ONCE = 4  # with more, a batch would be of one or two problems


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """The share of pairs with r(chosen) > r(rejected), by pair; None where there is no pair."""

    all: float | None
    step: float | None  # alternatives for one step, after the same prefix
    final: float | None  # whole solutions


@dataclass(frozen=True, slots=True)
class PpmReport:
    """What a PPM training did: ``training`` counts pairs, and ``at_end`` is of the validation nodes."""

    training: TrainingReport
    at_end: PairAccuracy


def train_ppm(
    model: Any,
    tokenizer: Any,
    nodes: Sequence[EncodedNode],
    validation_nodes: Sequence[EncodedNode],
    params: TrainPpm,
    seed: int,
    scratch: Path,
) -> PpmReport:
    """Train ``model`` in place; the batch size counts nodes, of which those of a problem come together.

    Accuracies are those of the validation nodes. Checkpoints are left in ``scratch``, and the newest of them is where
    the training begins.

    Raises:
        UserError: there is no node, so no training pair fitted ``max_length``; or an ``lm_weight`` and no head to
            write with.
    """
    if params.lm_weight and not model.config.tie_word_embeddings:
        raise UserError("train_ppm.lm_weight: this model's output embeddings are not its input embeddings; set it to 0")
    if not nodes:
        max_length = params.training.max_length
        raise UserError(f"no preference pair fits max_length={max_length} tokens; raise it in params.yaml")
    rows = dataset_at(
        scratch / "groups.arrow",
        ({"nodes": [{"rows": node.rows, "pairs": node.pairs} for node in group]} for group in groups_of(nodes)),
        NODE_GROUPS,
    )
    batch_size = max(1, round(params.training.batch_size * len(rows) / len(nodes)))
    training = params.training.model_copy(update={"batch_size": batch_size})
    training = with_enough_updates(training, len(rows), params.min_updates)
    run = fit(model, tokenizer, rows, Plan("PPM", training, seed, scratch, params))
    at_end = pair_accuracy(model, tokenizer.pad_token_id, validation_nodes)
    num_tokens = int(sum(len(pack([node["rows"] for node in row["nodes"]]).ids) for row in rows) * training.epochs)
    report = TrainingReport(
        curve=loss_curve(run.log_history),
        num_examples=num_pairs(nodes),
        num_tokens=num_tokens,
        tokens_per_second=num_tokens * run.share / run.seconds,
    )
    return PpmReport(report, at_end)


def groups_of(nodes: Iterable[EncodedNode]) -> Iterator[list[EncodedNode]]:
    """The nodes in groups of at most ``_NODES_AT_ONCE`` of one problem, which share most of their tokens.

    Nodes of one problem come one after another.
    """
    for _, its in groupby(nodes, lambda node: node.problem_id):
        while group := list(islice(its, _NODES_AT_ONCE)):
            yield group


def with_enough_updates(training: Training, num_rows: int, min_updates: int) -> Training:
    """``training`` with as many more epochs as ``min_updates`` optimiser steps on ``num_rows`` take."""
    needed = ceil(min_updates / ceil(num_rows / training.batch_size))
    return training.model_copy(update={"epochs": max(training.epochs, needed)})


def num_pairs(nodes: Iterable[EncodedNode]) -> int:
    return sum(len(node.pairs) for node in nodes)


def pair_accuracy(model: Any, pad_id: int, nodes: Sequence[EncodedNode]) -> PairAccuracy:
    """How well ``model`` ranks the pairs of ``nodes``; leaves it in evaluation mode."""
    model.eval()
    groups = list(groups_of(nodes))
    scores = iter(scores_of(model, pad_id, [[text for node in group for text in node.rows] for group in groups]))
    split = [_split(next(scores), [len(node.rows) for node in group]) for group in groups]
    return ranking_accuracy([node for group in groups for node in group], [its for group in split for its in group])


def _split(scores: Sequence[float], sizes: Sequence[int]) -> list[Sequence[float]]:
    """``scores`` in pieces of these sizes."""
    ends = list(accumulate(sizes))
    return [scores[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def ranking_accuracy(nodes: Sequence[EncodedNode], scores: Sequence[Sequence[float]]) -> PairAccuracy:
    """How well ``scores``, one for each of a node's rows, rank its pairs."""
    verdicts: dict[bool, list[bool]] = {True: [], False: []}
    for node, own in zip(nodes, scores, strict=True):
        verdicts[node.is_final] += [own[chosen] > own[rejected] for chosen, rejected in node.pairs]
    return PairAccuracy(_share(verdicts[True] + verdicts[False]), _share(verdicts[False]), _share(verdicts[True]))


def _share(verdicts: Sequence[bool]) -> float | None:
    return sum(verdicts) / len(verdicts) if verdicts else None


def scores_of(model: Any, pad_id: int, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
    """The scores of each group's texts (token ids), which are packed into a row (see ``packing``)."""
    import torch

    scores: list[list[float]] = [[] for _ in groups]
    for places, batch in batches_of_like_width([pack([texts]) for texts in groups], pad_id, model.device):
        with torch.inference_mode():
            logits = logits_at_ends(model, packed_hidden(model, batch), batch)
        found = iter(score_of_logits(logits).tolist())
        for place in places:
            scores[place] = [next(found) for _ in groups[place]]
    return scores


def shuffled(nodes: Sequence[EncodedNode], share: float, seed: int) -> list[EncodedNode]:
    """So many of ``nodes``, each with its labels swapped or not by the toss of a coin: there is nothing to learn.

    Those of one problem come one after another, as ``groups_of`` wants them.
    """
    coin = random.Random(seed)
    some = coin.sample(nodes, max(1, round(share * len(nodes))))
    of_problem: dict[str, list[EncodedNode]] = {}
    for node in some:
        of_problem.setdefault(node.problem_id, []).append(_swapped(node) if coin.random() < 0.5 else node)
    return [node for its in of_problem.values() for node in its]


def _swapped(node: EncodedNode) -> EncodedNode:
    return replace(node, pairs=tuple((rejected, chosen) for chosen, rejected in node.pairs))
