"""Low-rank adapters (LoRA, arXiv 2106.09685): a training of few weights, which are then added to the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rstar_core.config import Lora


@contextmanager
def adapted(model: Any, lora: Lora | None, seed: int) -> Iterator[None]:
    """While the context lasts, adapters of ``model``'s linear layers learn and nothing else does; when it ends well,
    they are part of its weights, and it is the model that it was. Without ``lora`` all of it learns.
    """
    if lora is None:
        yield
        return
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear")
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tuner = LoraModel(model, {"default": config}, "default")
    yield
    tuner.merge_and_unload()
    for weight in learning:
        weight.requires_grad_(True)
