"""The policy's weights on disk and in memory: safetensors only, no code from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstar_core.config import Architecture
from rstar_core.errors import UserError


def new_model(architecture: Architecture, tokenizer: Any, seed: int) -> Any:
    """A randomly initialised Llama-architecture model for ``tokenizer``. Weights depend on ``seed`` only."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        intermediate_size=architecture.intermediate_size,
        num_hidden_layers=architecture.num_layers,
        num_attention_heads=architecture.num_heads,
        max_position_embeddings=architecture.max_position_embeddings,
        initializer_range=0.06,  # the default, 0.02, suits wide models; a narrow one learns far slower from there
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def load_model(folder: Path | str, dtype: str) -> Any:
    """A causal language model from a local folder of safetensors; ``dtype`` auto: as they are.

    Raises:
        UserError: the folder holds no loadable model.
    """
    from transformers import AutoModelForCausalLM

    model, report = read_weights(AutoModelForCausalLM, folder, dtype, "model")
    strangers = sorted({*report["missing_keys"], *report["unexpected_keys"]})
    if strangers:
        raise UserError(f"{folder}: config and weights do not match ({len(strangers)} names, {strangers[0]})")
    return model


def read_weights(kind: Any, folder: Path | str, dtype: str, what: str, **config: Any) -> tuple[Any, dict[str, Any]]:
    """A model of transformers' ``kind`` from a local folder of safetensors, and which names did not match.

    Raises:
        UserError: the folder holds no such ``what``.
    """
    import torch
    from safetensors import SafetensorError

    without_progress_bars()
    safely = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    try:
        found: tuple[Any, dict[str, Any]] = kind.from_pretrained(
            folder, dtype=getattr(torch, dtype, dtype), output_loading_info=True, **safely, **config
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: no {what} that can be loaded: {str(error).splitlines()[0]}") from None
    return found


def best_device() -> str:
    """The GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_tokenizer(folder: Path | str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no tokenizer that can be loaded: {str(error).splitlines()[0]}") from None


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Weights (safetensors) and tokenizer into ``folder``.

    Raises:
        UserError: a weight is no number.
    """
    without_progress_bars()
    broken = next((name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()), None)
    if broken:
        raise UserError(f"{folder.name}: the weights {broken} hold what is no number; nothing is published")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def without_progress_bars() -> None:
    """From now on transformers loads and saves in silence: a log is lines."""
    from transformers.utils import logging

    logging.disable_progress_bar()
