"""Supervised fine-tuning of the policy with TRL (paper 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.config import Training
from rstar_core.errors import UserError
from rstar_core.policy.rendering import encode_example
from rstar_core.progress import progress_callback
from rstar_core.training.checkpoints import train_on
from rstar_core.types import SftExample

IGNORED = -100  # the label of a token that carries no loss


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
    model: Any, tokenizer: Any, examples: Sequence[SftExample], training: Training, seed: int, scratch: Path
) -> TrainingReport:
    """Fine-tune ``model`` in place; ``scratch`` holds checkpoints (``train_policy``).

    Raises:
        UserError: no example fits ``training.max_length``.
    """
    encoded = [encode_example(tokenizer, example.question, example.steps) for example in examples]
    return train_policy(model, tokenizer, encoded, training, seed, scratch)


def train_policy(
    model: Any, tokenizer: Any, examples: Sequence[dict[str, list[int]]], training: Training, seed: int, scratch: Path
) -> TrainingReport:
    """Fine-tune ``model`` in place on encoded examples (see ``rendering.encode_example``).

    Checkpoints are left in ``scratch``, and the newest of them is where the training begins. No example is cut: one
    longer than ``training.max_length`` is left out.

    Raises:
        UserError: no example fits ``training.max_length``, or more of them do not than ``training.max_left_out``.
    """
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback

    kept = [example for example in examples if len(example["input_ids"]) <= training.max_length]
    if not kept:
        raise UserError(f"no example fits max_length={training.max_length} tokens; raise it in params.yaml")
    check_left_out(len(examples) - len(kept), len(examples), training)
    disable_progress_bars()  # of TRL's preparation, which takes no time
    use_cache = model.config.use_cache  # the trainer turns it off for good
    trainer = _trainer_class()(
        model=model,
        args=sft_config(training, seed, str(scratch)),
        train_dataset=Dataset.from_list(kept),
        processing_class=tokenizer,
        callbacks=[progress_callback("SFT")],
    )
    trainer.remove_callback(PrinterCallback)
    run = train_on(trainer, scratch)
    model.config.use_cache = use_cache
    num_tokens = int(sum(len(example["input_ids"]) for example in kept) * training.epochs)
    return TrainingReport(
        curve=loss_curve(run.log_history),
        num_examples=len(kept),
        num_tokens=num_tokens,
        tokens_per_second=num_tokens * run.share / run.seconds,
    )


def check_left_out(num_left_out: int, number: int, training: Training) -> None:
    """Raises UserError where so many of ``number`` examples are too long that the others would be another set."""
    if num_left_out > training.max_left_out * number:
        raise UserError(
            f"{num_left_out} of {number} examples are longer than max_length={training.max_length} tokens, "
            f"and max_left_out={training.max_left_out} allows fewer; raise one of the two in params.yaml"
        )


def sft_config(training: Training, seed: int, output_dir: str) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        **common_arguments(training, seed, output_dir),
        max_length=training.max_length,
        packing=False,
        completion_only_loss=True,  # without it TRL drops the mask of tokenised data
        logging_first_step=True,  # a curve is never empty
    )


def _trainer_class() -> Any:
    from torch.nn.functional import cross_entropy
    from trl import SFTTrainer

    class PolicyTrainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer with a leaner loss on CPUs.

        TRL's fused head has a kernel for GPUs. Its stand-in for CPUs works out the logits of prompts and padding too,
        and all of them twice, which is a quarter of a small model's training.
        """

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if inputs["input_ids"].device.type != "cpu" or return_outputs:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            labels = inputs["labels"][:, 1:]
            is_counted = labels != IGNORED
            # Padding is on the right, where a causal model does not look, so no mask is needed.
            hidden = model.base_model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
            logits = model.get_output_embeddings()(hidden[is_counted])
            return cross_entropy(logits.float(), labels[is_counted])

    return PolicyTrainer


def common_arguments(training: Training, seed: int, output_dir: str) -> dict[str, Any]:
    """Trainer arguments shared by policy and PPM training; everything that TRL would choose silently is stated."""
    import torch

    return {
        "output_dir": output_dir,
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": training.warmup_ratio,
        "weight_decay": training.weight_decay,
        "bf16": torch.cuda.is_available(),
        "activation_checkpointing": False,
        # Grouped by length, batches come in the order of their length, again and again: a small model learns far worse.
        "train_sampling_strategy": "random",
        "logging_steps": 5,
        "logging_nan_inf_filter": False,  # else a loss that is no number is logged as 0
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
        "dataloader_pin_memory": False,
    }


def loss_curve(log_history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The logged rows that hold a loss, as {step, epoch, loss, learning_rate}."""
    names = ("step", "epoch", "loss", "learning_rate")
    return [{name: row[name] for name in names} for row in log_history if "loss" in row]
