"""Training the PPM on preference pairs with TRL (paper 3.3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

from rstar_core.config import Training, TrainPpm
from rstar_core.errors import UserError
from rstar_core.ppm.model import score_of_logits
from rstar_core.ppm.packing import (
    batches_of_like_width,
    collate_rows,
    logits_at_ends,
    own_tokens,
    pack,
    packed_hidden,
)
from rstar_core.ppm.rendering import EncodedNode
from rstar_core.progress import progress_callback
from rstar_core.training.checkpoints import train_on
from rstar_core.training.loss import mean_scores, next_token_loss, pair_weights, preference_loss
from rstar_core.training.sft import TrainingReport, common_arguments, loss_curve

_NODES_AT_ONCE = 4  # with more, a batch would be of one or two problems

Objective = Callable[[Any, Any], Any]  # (model, batch) -> loss, a scalar


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


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training is run, and what it is called; checkpoints lie in ``scratch``."""

    name: str
    training: Training
    seed: int
    scratch: Path


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
    groups = by_problem(nodes)
    batch_size = max(1, round(params.training.batch_size * len(groups) / len(nodes)))
    training = params.training.model_copy(update={"batch_size": batch_size})
    training = with_enough_updates(training, len(groups), params.min_updates)
    rows = [{"nodes": [{"rows": node.rows, "pairs": node.pairs} for node in group]} for group in groups]
    trainer = node_trainer(model, tokenizer, rows, collate, preferences(params), Plan("PPM", training, seed, scratch))
    run = train_on(trainer, scratch)
    at_end = pair_accuracy(model, tokenizer.pad_token_id, validation_nodes)
    num_tokens = int(sum(len(pack([node.rows for node in group]).ids) for group in groups) * training.epochs)
    report = TrainingReport(
        curve=loss_curve(run.log_history),
        num_examples=num_pairs(nodes),
        num_tokens=num_tokens,
        tokens_per_second=num_tokens * run.share / run.seconds,
    )
    return PpmReport(report, at_end)


def by_problem(nodes: Sequence[EncodedNode]) -> list[list[EncodedNode]]:
    """The nodes in groups of at most ``_NODES_AT_ONCE`` of one problem, which share most of their tokens."""
    of_problem: dict[str, list[EncodedNode]] = {}
    for node in nodes:
        of_problem.setdefault(node.problem_id, []).append(node)
    return [
        its[start : start + _NODES_AT_ONCE]
        for its in of_problem.values()
        for start in range(0, len(its), _NODES_AT_ONCE)
    ]


def with_enough_updates(training: Training, num_rows: int, min_updates: int) -> Training:
    """``training`` with as many more epochs as ``min_updates`` optimiser steps on ``num_rows`` take."""
    needed = ceil(min_updates / ceil(num_rows / training.batch_size))
    return training.model_copy(update={"epochs": max(training.epochs, needed)})


def num_pairs(nodes: Sequence[EncodedNode]) -> int:
    return sum(len(node.pairs) for node in nodes)


def pair_accuracy(model: Any, pad_id: int, nodes: Sequence[EncodedNode]) -> PairAccuracy:
    """How well ``model`` ranks the pairs of ``nodes``; leaves it in evaluation mode."""
    model.eval()
    groups = by_problem(nodes)
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
    """So many of ``nodes``, each with its labels swapped or not by the toss of a coin: there is nothing to learn."""
    coin = random.Random(seed)
    some = coin.sample(list(nodes), max(1, round(share * len(nodes))))
    return [_swapped(node) if coin.random() < 0.5 else node for node in some]


def _swapped(node: EncodedNode) -> EncodedNode:
    return replace(node, pairs=tuple((rejected, chosen) for chosen, rejected in node.pairs))


# --- TRL ------------------------------------------------------------------------------------------------------


def node_trainer(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], collate: Any, objective: Objective, plan: Plan
) -> Any:
    """A TRL trainer of ``objective`` over ``rows``, of which ``collate`` makes batches."""
    from datasets import Dataset
    from transformers import PrinterCallback

    trainer = _trainer_class(objective)(
        model=model,
        args=_reward_config(plan.training, plan.seed, str(plan.scratch)),
        data_collator=lambda some: collate(some, tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[progress_callback(plan.name)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _reward_config(training: Training, seed: int, output_dir: str) -> Any:
    from trl import RewardConfig

    return RewardConfig(
        **common_arguments(training, seed, output_dir),
        max_length=None,  # what is too long is gone already
        remove_unused_columns=False,  # a row is a node, which TRL does not know
        logging_first_step=True,  # a curve is never empty
    )


def collate(groups: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Any]:
    """The texts of each group of nodes packed into a row (see ``packing``), and the pairs as indices into all texts.

    ``following`` are the tokens that chosen texts have beyond their node's start, and ``before`` (2, number of them)
    the row and place of the token before each.
    """
    import torch

    num_texts = 0
    pairs: list[tuple[int, int]] = []
    rows, written = [], []
    for number, group in enumerate(groups):
        row, first = pack([node["rows"] for node in group["nodes"]]), num_texts
        rows.append(row)
        for node in group["nodes"]:
            pairs += [(num_texts + chosen, num_texts + rejected) for chosen, rejected in node["pairs"]]
            for chosen in sorted({chosen for chosen, _ in node["pairs"]}):
                written += [(number, *token) for token in own_tokens(row, num_texts - first + chosen)]
            num_texts += len(node["rows"])
    return {
        **collate_rows(rows, pad_id),
        "before": torch.tensor([token[:2] for token in written]).T,
        "following": torch.tensor([token[2] for token in written]),
        "chosen": torch.tensor([chosen for chosen, _ in pairs]),
        "rejected": torch.tensor([rejected for _, rejected in pairs]),
        "weights": torch.tensor(pair_weights([len(node["pairs"]) for group in groups for node in group["nodes"]])),
    }


def preferences(params: TrainPpm) -> Objective:
    """The PPM's loss of a batch of ``collate``: on preferences, and what ``params`` have beside it."""

    def loss_of(model: Any, inputs: Any) -> Any:
        hidden = packed_hidden(model, inputs)
        logits = logits_at_ends(model, hidden, inputs)
        pairs = [inputs[name] for name in ("chosen", "rejected", "weights")]
        loss = preference_loss(score_of_logits(logits), *pairs, scale=params.loss_scale)
        if params.token_weight:
            row, place, text = inputs["own"]
            means = mean_scores(score_of_logits(model.score(hidden[row, place])), text, len(logits))
            loss = loss + params.token_weight * preference_loss(means, *pairs, scale=params.loss_scale)
        if params.lm_weight:
            embeddings = model.get_input_embeddings().weight
            loss = loss + params.lm_weight * next_token_loss(hidden[*inputs["before"]], embeddings, inputs["following"])
        return loss

    return loss_of


def _trainer_class(objective: Objective) -> Any:
    from trl import RewardTrainer

    class NodeTrainer(RewardTrainer):  # type: ignore[misc]
        """RewardTrainer over nodes: its own ``compute_loss`` takes one chosen and one rejected text per row."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            loss = objective(model, inputs)
            return (loss, {}) if return_outputs else loss

    return NodeTrainer
