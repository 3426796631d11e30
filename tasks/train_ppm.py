"""Preference pairs -> the round's process preference model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_core.config import Seed, TrainPpm
from rstar_core.io import read_pairs, read_problems, write_curve
from rstar_core.journal.checkpoints import checkpoint_folder
from rstar_core.journal.key import journal_key
from rstar_core.policy.model import load_tokenizer
from rstar_core.ppm import train
from rstar_core.ppm.model import new_ppm, save_ppm, write_null_ppm
from rstar_core.ppm.rendering import encode_nodes
from rstar_core.publishing import publish_folder
from rstar_core.types import PreferencePair


def train_ppm(
    *,
    round_id: str,
    problems: Path,
    policy: Path,
    pairs: Path,
    ppm: Path,
    curve: Path,
    seed: Seed,
    train_ppm: TrainPpm,
) -> dict[str, Any]:
    """Train the round's PPM from the round's policy.

    ``pairs`` holds ``train.parquet`` and ``validation.parquet``. Without training pairs the round gets a null PPM.
    Metrics: ``ppm_accuracy`` (validation pairs ranked right; also ``_inner``, ``_final`` and ``_at_start``; null
    where there are none), ``num_train_pairs``, ``num_validation_pairs``, ``num_left_out`` (pairs with an overlong
    text, in neither of the two), ``num_tokens``, ``final_loss`` (as last logged: a mean over up to 5 steps of both
    losses, the next-token loss by its weight).

    Raises:
        UserError: an input is missing or unreadable, or no pair fits ``max_length``.
    """
    train_pairs, validation_pairs = (read_pairs(pairs / f"{name}.parquet") for name in ("train", "validation"))
    if not train_pairs:
        print(f"{round_id}: no preference pairs to train on, so the round has no PPM", file=sys.stderr)
        return _no_ppm(ppm, curve, validation_pairs)
    tokenizer = load_tokenizer(policy)
    questions = {problem.id: problem.question for problem in read_problems(problems)}
    nodes, validation = (encode_nodes(tokenizer, questions, some) for some in (train_pairs, validation_pairs))
    model = new_ppm(policy, "float32", seed, train_ppm.extra_layers)
    key = journal_key("train_ppm", round_id, (problems, policy, pairs), {"seed": seed, "train_ppm": train_ppm})
    with checkpoint_folder(key) as scratch:
        report = train.train_ppm(model, tokenizer, nodes, validation, train_ppm, seed, scratch)
        with publish_folder(ppm) as folder:
            save_ppm(model, tokenizer, folder)
        write_curve(curve, report.training.curve)
    return _metrics(report)


def _metrics(report: train.PpmReport) -> dict[str, Any]:
    training = report.training
    return {
        "ppm_accuracy": report.at_end.all,
        "ppm_accuracy_inner": report.at_end.inner,
        "ppm_accuracy_final": report.at_end.final,
        "ppm_accuracy_at_start": report.at_start.all,
        "num_train_pairs": training.num_examples,
        "num_validation_pairs": report.num_validation_pairs,
        "num_left_out": training.num_left_out,
        "final_loss": training.curve[-1]["loss"],
        "num_tokens": training.num_tokens,
        "timings": {"tokens/s": round(training.tokens_per_second, 1)},
    }


def _no_ppm(ppm: Path, curve: Path, validation_pairs: Sequence[PreferencePair]) -> dict[str, Any]:
    with publish_folder(ppm) as folder:
        write_null_ppm(folder)
    write_curve(curve, [])
    names = ("ppm_accuracy", "ppm_accuracy_inner", "ppm_accuracy_final", "ppm_accuracy_at_start", "final_loss")
    counts = {"num_train_pairs": 0, "num_validation_pairs": len(validation_pairs), "num_left_out": 0, "num_tokens": 0}
    return {**dict.fromkeys(names), **counts}
