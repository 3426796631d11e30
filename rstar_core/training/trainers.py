"""TRL's trainers as this project uses them: what the library would choose silently is stated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.config import Training, TrainPpm
from rstar_core.machine.variables import ACTIVATION_CHECKPOINTING
from rstar_core.progress import progress_callback
from rstar_core.training.batches import shared_out, sharing, with_empty
from rstar_core.training.nodes import collate, empty_row, preferences
from rstar_core.training.objective import Objective, trainer_class
from rstar_core.training.solutions import IGNORED, next_tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training is run, and what it is called; checkpoints lie in ``scratch``. ``ppm``: of a PPM, its params."""

    name: str
    training: Training
    seed: int
    scratch: Path
    ppm: TrainPpm | None = None


def trainer_of(model: Any, tokenizer: Any, rows: Any, plan: Plan) -> Any:
    """The trainer of a policy, or of a PPM where the plan has one, over the dataset ``rows``."""
    if plan.ppm is None:
        return policy_trainer(model, tokenizer, rows, plan)
    return node_trainer(model, tokenizer, rows, empty_row(tokenizer.pad_token_id), collate, preferences(plan.ppm), plan)


def policy_trainer(model: Any, tokenizer: Any, rows: Any, plan: Plan) -> Any:
    """Over rows of ``input_ids`` and ``labels``, one for each token, ``IGNORED`` where it carries no loss.

    TRL's fused head has a kernel for GPUs. Its stand-in for CPUs works out the logits of prompts and padding too, and
    all of them twice, which is a quarter of a small model's training: there the loss is ours.
    """
    import torch
    from trl import SFTConfig, SFTTrainer

    kind = SFTTrainer if torch.cuda.is_available() else trainer_class(SFTTrainer, next_tokens())
    config = SFTConfig(
        **common_arguments(plan),
        max_length=None,  # what is too long is gone already
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    empty = {"input_ids": [tokenizer.pad_token_id], "labels": [IGNORED]}
    return _trainer(kind, model, tokenizer, rows, empty, config, plan)


def node_trainer(
    model: Any, tokenizer: Any, rows: Any, empty: dict[str, Any], collate: Any, objective: Objective, plan: Plan
) -> Any:
    """Of ``objective`` over ``rows``, of which ``collate`` makes batches; ``empty`` is a row that carries no loss.

    TRL's own loss takes a pair per row.
    """
    from trl import RewardConfig, RewardTrainer

    class NodeTrainer(RewardTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    config = RewardConfig(
        **common_arguments(plan),
        max_length=None,  # what is too long is gone already
        remove_unused_columns=False,  # a row is some nodes, which TRL does not know
    )
    kind = trainer_class(NodeTrainer, objective)
    more = {"data_collator": lambda some: collate(some, tokenizer.pad_token_id)}
    return _trainer(kind, model, tokenizer, rows, empty, config, plan, **more)


def _trainer(
    kind: type, model: Any, tokenizer: Any, rows: Any, empty: dict[str, Any], config: Any, plan: Plan, **more: Any
) -> Any:
    from transformers import PrinterCallback

    shared = shared_out(plan.training.batch_size)
    trainer = sharing(kind, shared, plan.seed)(
        model=model,
        args=config,
        train_dataset=with_empty(rows, empty, shared),
        processing_class=tokenizer,
        callbacks=[progress_callback(plan.name)],
        **more,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def common_arguments(plan: Plan) -> dict[str, Any]:
    """Trainer arguments shared by policy and PPM training."""
    import torch

    training, shared = plan.training, shared_out(plan.training.batch_size)
    return {
        "output_dir": str(plan.scratch),
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": shared.micro,
        "gradient_accumulation_steps": shared.num_passes,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": training.warmup_ratio,
        "weight_decay": training.weight_decay,
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),  # else a launcher's processes on CPUs do not find each other
        "activation_checkpointing": ACTIVATION_CHECKPOINTING.get(),
        "ddp_find_unused_parameters": False,  # there are none
        # Grouped by length, batches come in the order of their length, again and again: a small model learns far worse.
        "train_sampling_strategy": "random",
        "logging_steps": 5,
        "logging_first_step": True,  # a curve is never empty
        "logging_nan_inf_filter": False,  # else a loss that is no number is logged as 0
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "dataloader_pin_memory": False,
    }
