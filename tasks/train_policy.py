"""SFT examples -> the round's policy, trained from the base model (paper 3.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstar_core.config import Seed, TrainPolicy
from rstar_core.errors import UserError
from rstar_core.io import SFT_EXAMPLES, num_rows, stream_sft_examples, write_curve
from rstar_core.journal.checkpoints import checkpoint_folder
from rstar_core.journal.key import journal_key
from rstar_core.machine.threads import keep_threads_awake
from rstar_core.policy.folder import load_base, save_policy
from rstar_core.training.sft import train_on_examples


def train_policy(
    *, round_id: str, base: Path, sft: Path, policy: Path, curve: Path, seed: Seed, train_policy: TrainPolicy
) -> dict[str, Any]:
    """Train the round's policy from the base model, never from an earlier round's policy.

    Metrics: ``num_sft`` examples, ``num_left_out`` of them (longer than ``max_length``), ``num_tokens`` over all
    epochs, ``final_loss`` (as last logged: a mean over up to 5 steps).

    Raises:
        UserError: an input is missing or unreadable, there is no example or none that fits, or the base model has
            changed since it was named.
    """
    num_examples = num_rows(sft / "train.parquet", SFT_EXAMPLES)
    if not num_examples:
        raise UserError(
            f"{sft}: {round_id} has no SFT examples to train on; raise rounds.{round_id}.num_rollouts "
            "or curate.demonstrations"
        )
    keep_threads_awake()
    model, tokenizer, source = load_base(base)
    key = journal_key("train_policy", round_id, (base, sft), {"seed": seed, "train_policy": train_policy})
    with checkpoint_folder(key) as scratch:
        examples = stream_sft_examples(sft / "train.parquet")
        report = train_on_examples(model, tokenizer, examples, train_policy.training, seed, scratch)
        save_policy(policy, model, tokenizer, source)
        write_curve(curve, report.curve)
    return {
        "num_sft": num_examples,
        "num_left_out": num_examples - report.num_examples,
        "num_tokens": report.num_tokens,
        "final_loss": report.curve[-1]["loss"],
        "timings": {"tokens/s": round(report.tokens_per_second, 1)},
    }
