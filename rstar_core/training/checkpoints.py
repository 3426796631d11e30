"""Checkpoints of a transformers training, from which it goes on to the weights that it would have had anyway."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from rstar_core.errors import UserError
from rstar_core.journal.checkpoints import newest, seal
from rstar_core.machine.variables import CHECKPOINT_SECONDS

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class FinishedTraining:
    """How a training went. ``share`` of its steps was done now, in ``seconds``; the rest came from a checkpoint."""

    log_history: list[dict[str, float]]
    share: float
    seconds: float


def train_on(trainer: Any, folder: Path) -> FinishedTraining:
    """Train from the newest checkpoint in ``folder``, or from the start, and leave checkpoints there.

    A checkpoint holds weights, optimiser, schedule, random states and the log. It is made where a loss has just been
    logged, so that the curve goes on as well.

    Raises:
        UserError: a logged loss is no number.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # of writing a checkpoint
    logging.get_logger("transformers.trainer").setLevel(logging.ERROR)  # tied weights are no missing ones
    trainer.add_callback(_callback(CHECKPOINT_SECONDS.get()))
    checkpoint = _as_the_first_says(str(newest(folder) or "") if trainer.is_world_process_zero() else "")
    num_done = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    result = trainer.train(resume_from_checkpoint=checkpoint or None)
    steps = trainer.state.max_steps
    return FinishedTraining(trainer.state.log_history, (steps - num_done) / steps, result.metrics["train_runtime"])


def _callback(every: float) -> Any:
    from accelerate import PartialState
    from transformers import TrainerCallback

    class Save(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.saved = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not isfinite((logs or {}).get("loss", 0.0)):
                raise UserError(
                    f"the loss is not a number at step {state.global_step} of {state.max_steps}; nothing is published: "
                    f"lower the learning rate (now {args.learning_rate}), or look for weights that are no numbers"
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            is_logged = state.global_step % args.logging_steps == 0
            if is_logged and state.global_step < state.max_steps:
                control.should_save = _as_the_first_says(time.monotonic() - self.saved >= every)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            PartialState().wait_for_everyone()  # each may have written a part
            if state.is_world_process_zero:
                seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.saved = time.monotonic()

    return Save()


def _as_the_first_says(value: Value) -> Value:
    """``value`` of the first of the processes that train together."""
    from accelerate.utils import broadcast_object_list

    said: list[Value] = broadcast_object_list([value])
    return said[0]
