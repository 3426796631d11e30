"""Policy folders: weights, or a reference to weights that lie elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rstar_core.config import PretrainedModel
from rstar_core.errors import UserError
from rstar_core.policy.card import ModelSource, Prompt, read_policy_card, write_policy_card
from rstar_core.policy.model import load_model, load_tokenizer, save_model
from rstar_core.policy.pretrained import load_pretrained, teach_markers
from rstar_core.store.publishing import publish_folder


def load_base(folder: Path) -> tuple[Any, Any, ModelSource]:
    """The base model as precise as it is kept, its tokenizer, which knows the step markers, and what a card calls it.

    Raises:
        UserError: there is no base model, or a reference's weights are no longer those that it was made from.
    """
    reference = read_policy_card(folder).reference
    if reference is None:
        model = load_model(folder, "auto")
        return model, load_tokenizer(folder), ModelSource(str(folder), sha256=weights_digest(model))
    model, tokenizer, source = load_named(PretrainedModel(name=reference.name, revision=reference.revision))
    if reference.sha256 not in (None, source.sha256):
        raise UserError(f"{reference.name}: not the weights that {folder} was made from; run: dvc repro -f bootstrap")
    return model, tokenizer, source


def load_named(spec: PretrainedModel) -> tuple[Any, Any, ModelSource]:
    """A pretrained model as ``load_base`` returns it; ``sha256`` is of its weights before they learn the markers.

    Raises:
        UserError: the model is not there or cannot be loaded.
    """
    model, tokenizer = load_pretrained(spec, with_markers=False)
    source = ModelSource(spec.name, spec.revision, weights_digest(model))
    return teach_markers(model, tokenizer), tokenizer, source


def source_of(spec: PretrainedModel) -> ModelSource:
    """What pins a model that is not trained now: its revision, or the sha256 of its weights where it has none."""
    return ModelSource(spec.name, spec.revision) if spec.revision else load_named(spec)[2]


def weights_digest(model: Any) -> str:
    """sha256 of names, types, shapes and values of a model's weights, wherever they lie."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def save_policy(policy: Path, model: Any, tokenizer: Any, base: ModelSource | None) -> None:
    """Publish weights with their tokenizer and card."""
    with publish_folder(policy) as folder:
        save_model(model, tokenizer, folder)
        write_policy_card(folder, "zero_shot", base)


def save_reference(policy: Path, prompt: Prompt, reference: ModelSource) -> None:
    """Publish a folder without weights."""
    with publish_folder(policy) as folder:
        write_policy_card(folder, prompt, reference=reference)
