"""The PPM's weights: the policy's backbone with a linear head, score = tanh(logit) at the last token (paper 3.3).

On disk it is a plain ``...ForSequenceClassification`` with one label, so that any pooling server can serve it. Such
a server returns logits (``problem_type: regression`` has it apply no activation); ``score_of_logits`` is the one
place where tanh happens, in training and in use alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rstar_core.errors import UserError
from rstar_core.io import read_json, write_json
from rstar_core.policy.model import load_tokenizer, read_weights, save_model

_MARK = "ppm.json"
_INITIAL_LOGIT = 0.1  # standard deviation
_WRITERS = {"self_attn.o_proj.weight", "mlp.down_proj.weight"}  # in Llama, Qwen2 and their like


def new_ppm(policy_folder: Path | str, dtype: str, seed: int = 0, extra_layers: int = 0, frozen_layers: int = 0) -> Any:
    """A PPM with the policy's backbone and a fresh head, which depends on ``seed`` only.

    ``extra_layers`` more decoder layers add nothing to the hidden states at first. Only on top of the policy's last
    layer can a token be compared with what the policy expected in its place. The embeddings and the lowest
    ``frozen_layers`` take no part in training; with 0 all do.

    The head is drawn so small that scores start near 0, where tanh is linear, at any width of the model (the last
    norm makes hidden states of unit mean square). It is not zero: equal scores would rank nothing, and a zero head
    passes no gradient to the backbone.

    Raises:
        UserError: the folder holds no loadable policy, one whose layers can't be added to, or fewer than are to be
            frozen.
    """
    import torch

    tokenizer = load_tokenizer(policy_folder)
    model, _ = _load(policy_folder, dtype, "policy", num_labels=1, problem_type="regression")
    num_layers = model.config.num_hidden_layers
    if frozen_layers > num_layers:
        raise UserError(f"train_ppm.frozen_layers: the policy has {num_layers} layers, not {frozen_layers}")
    if extra_layers:
        more = {"num_labels": 1, "problem_type": "regression", "num_hidden_layers": num_layers + extra_layers}
        model, _ = _load(policy_folder, dtype, "policy", **more)
    model.config.pad_token_id = tokenizer.pad_token_id
    generator = torch.Generator().manual_seed(seed)
    _draw(model.score.weight.data, _INITIAL_LOGIT / model.config.hidden_size**0.5, generator)
    for layer in model.base_model.layers[num_layers:]:
        _start_with_nothing(layer, model.config.initializer_range, generator)
    if frozen_layers:
        for part in (model.get_input_embeddings(), *model.base_model.layers[:frozen_layers]):
            part.requires_grad_(False)
    return model


def _draw(weight: Any, deviation: float, generator: Any) -> None:
    import torch

    weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)


def _start_with_nothing(layer: Any, deviation: float, generator: Any) -> None:
    """Fresh weights for a decoder layer, but zero where it writes to the hidden states."""
    for name, weight in layer.named_parameters():
        if name in _WRITERS:
            weight.data.zero_()
        elif weight.ndim > 1:
            _draw(weight.data, deviation, generator)
    if _WRITERS - {name for name, _ in layer.named_parameters()}:
        raise UserError(f"train_ppm.extra_layers: layers such as {type(layer).__name__} can't be added; set it to 0")


def load_ppm(folder: Path | str, dtype: str) -> Any:
    """The PPM of a local folder of safetensors, ready to score.

    Raises:
        UserError: the folder holds no PPM, or one that cannot be loaded.
    """
    if is_null_ppm(folder):
        raise UserError(f"{folder}: its round has no PPM; use the guide 'terminal' with it")
    model, missing = _load(folder, dtype, "PPM")
    if missing or model.config.num_labels != 1:
        raise UserError(f"{folder}: not a PPM: it has no score head with one output")
    return model


def save_ppm(model: Any, tokenizer: Any, folder: Path) -> None:
    """Weights (safetensors) and tokenizer into ``folder``."""
    save_model(model, tokenizer, folder)


def _load(folder: Path | str, dtype: str, what: str, **config: Any) -> tuple[Any, set[str]]:
    """The model, and the names of weights that the folder does not have."""
    from transformers import AutoModelForSequenceClassification

    with _without_loading_report():
        model, report = read_weights(AutoModelForSequenceClassification, folder, dtype, what, **config)
    return model, set(report["missing_keys"])


@contextmanager
def _without_loading_report() -> Iterator[None]:
    """Silence the table of new and unused weights: a new head, and the unused head of the policy, are meant."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def score_of_logits(logits: Any) -> Any:
    """Logits of shape (n, 1), in any precision -> n scores in [-1, 1], float32."""
    import torch

    return torch.tanh(logits.float()).squeeze(-1)


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Any]:
    """Right-padded ``input_ids`` and their ``attention_mask``."""
    import torch

    width = max(map(len, rows))
    ids = [[*row, *[pad_id] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def score_batch(model: Any, pad_id: int, rows: list[list[int]]) -> list[float]:
    """The score at the last token of each row, in one forward pass. ``pad_id`` is the model's own pad token.

    A row must not end with that token: the model reads at the last token that is no padding.
    """
    import torch

    if not rows:
        return []
    with torch.inference_mode():
        batch = {name: tensor.to(model.device) for name, tensor in pad_rows(rows, pad_id).items()}
        scores: list[float] = score_of_logits(model(**batch, use_cache=False).logits).tolist()
    return scores


def write_null_ppm(folder: Path | str) -> None:
    """Say in ``folder`` that this round has no PPM."""
    write_json(Path(folder) / _MARK, {"kind": "none"})


def is_null_ppm(folder: Path | str) -> bool:
    mark = Path(folder) / _MARK
    return mark.exists() and bool(read_json(mark).get("kind") == "none")
