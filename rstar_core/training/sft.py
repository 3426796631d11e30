"""Supervised fine-tuning of the policy with TRL (paper 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.config import Training
from rstar_core.errors import UserError
from rstar_core.policy.rendering import encode_example
from rstar_core.training.launched import fit
from rstar_core.training.on_disk import EXAMPLES, dataset_at
from rstar_core.training.solutions import IGNORED
from rstar_core.training.trainers import Plan
from rstar_core.types import SftExample


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training did: ``curve`` has one row per logged step; ``num_tokens`` counts all epochs' input tokens.

    ``tokens_per_second`` is of the last attempt, without what a checkpoint brought.
    """

    curve: list[dict[str, float]]
    num_examples: int
    num_tokens: int
    tokens_per_second: float


def train_on_examples(
    model: Any, tokenizer: Any, examples: Iterable[SftExample], training: Training, seed: int, scratch: Path
) -> TrainingReport:
    """Fine-tune ``model`` in place; ``scratch`` holds checkpoints (``train_policy``).

    Raises:
        UserError: no example fits ``training.max_length``.
    """
    encoded = (encode_example(tokenizer, example.question, example.steps) for example in examples)
    return train_policy(model, tokenizer, encoded, training, seed, scratch)


def train_policy(
    model: Any, tokenizer: Any, examples: Iterable[dict[str, list[int]]], training: Training, seed: int, scratch: Path
) -> TrainingReport:
    """Fine-tune ``model`` in place on encoded examples (see ``rendering.encode_example``).

    Checkpoints are left in ``scratch``, and the newest of them is where the training begins. No example is cut: one
    longer than ``training.max_length`` is left out.

    Raises:
        UserError: no example fits ``training.max_length``, or more of them do not than ``training.max_left_out``.
    """
    lengths: list[int] = []
    rows = dataset_at(scratch / "examples.arrow", _fitting(examples, training.max_length, lengths), EXAMPLES)
    if not len(rows):
        raise UserError(f"no example fits max_length={training.max_length} tokens; raise it in params.yaml")
    check_left_out(len(lengths) - len(rows), len(lengths), training)
    use_cache = model.config.use_cache  # the trainer turns it off for good
    run = fit(model, tokenizer, rows, Plan("SFT", training, seed, scratch))
    model.config.use_cache = use_cache
    num_tokens = int(sum(length for length in lengths if length <= training.max_length) * training.epochs)
    return TrainingReport(
        curve=loss_curve(run.log_history),
        num_examples=len(rows),
        num_tokens=num_tokens,
        tokens_per_second=num_tokens * run.share / run.seconds,
    )


def _fitting(
    examples: Iterable[dict[str, list[int]]], max_length: int, lengths: list[int]
) -> Iterator[dict[str, list[int]]]:
    """Those that fit, labelled; ``lengths`` gets the length of each."""
    for example in examples:
        lengths.append(len(example["input_ids"]))
        if lengths[-1] <= max_length:
            yield _labelled(example)


def _labelled(example: dict[str, list[int]]) -> dict[str, list[int]]:
    labels = zip(example["input_ids"], example["completion_mask"], strict=True)
    return {"input_ids": example["input_ids"], "labels": [token if counts else IGNORED for token, counts in labels]}


def check_left_out(num_left_out: int, number: int, training: Training) -> None:
    """Raises UserError where so many of ``number`` examples are too long that the others would be another set."""
    if num_left_out > training.max_left_out * number:
        raise UserError(
            f"{num_left_out} of {number} examples are longer than max_length={training.max_length} tokens, "
            f"and max_left_out={training.max_left_out} allows fewer; raise one of the two in params.yaml"
        )


def loss_curve(log_history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The logged rows that hold a loss, as {step, epoch, loss, learning_rate}."""
    names = ("step", "epoch", "loss", "learning_rate")
    return [{name: row[name] for name in names} for row in log_history if "loss" in row]
