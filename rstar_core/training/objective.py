"""A loss as the model's own ``forward``, summed over every pass and process of one optimiser step.

What wraps a model to train it with others (DDP, FSDP, DeepSpeed) sees a step through ``forward`` alone. A step's loss
is the same whatever number of processes and passes its batch is shared out over (paper 3.4: a batch of 128, on 8 GPUs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Objective:
    """``count`` says how many of each kind of thing a batch's loss is a mean over, (k,), and ``loss`` works it out.

    ``loss`` (model, batch, shares): a scalar, each mean times its entry of ``shares`` (k,), the batch's share of all.
    """

    count: Callable[[Any], Any]
    loss: Callable[[Any, Any, Any], Any]


def trainer_class(base: type, objective: Objective) -> type:
    """TRL's trainer ``base``, for ``objective`` in place of its own loss."""

    class ObjectiveTrainer(base):  # type: ignore[misc]
        loss_is_scaled_for_ga = True  # by the shares

        def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
            """The batches of one optimiser step, and what they count together with those of other processes."""
            batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            counts = sum(objective.count(batch) for batch in batches)
            return batches, self.accelerator.gather(counts[None].to(device)).sum(0)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            # The gradients of processes are averaged, so that each is to give as many times its share.
            shares = objective.count(inputs) / num_items_in_batch.clamp(min=1) * self.accelerator.num_processes
            loss = model(batch=inputs, shares=shares)
            return (loss, {}) if return_outputs else loss

        def train(self, *args: Any, **kwargs: Any) -> Any:
            with _forward(self.model, objective):
                return super().train(*args, **kwargs)

    return ObjectiveTrainer


@contextmanager
def _forward(model: Any, objective: Objective) -> Iterator[None]:
    def forward(batch: Any, shares: Any) -> Any:
        return objective.loss(model, batch, shares)

    model.forward = forward  # of this model alone; its class keeps its own
    try:
        yield
    finally:
        del model.forward
