"""How much of this machine's memory searches may take. Science is in params.yaml; these change no result of float64."""

from __future__ import annotations

import os
from typing import Any

from rstar_core.config import Engine
from rstar_core.errors import UserError

BATCH_VARIABLE = "RSTAR_BATCH_MIB"  # keys and values of what one model reads at once
STORE_VARIABLE = "RSTAR_KV_CACHE_MIB"  # of each model's store of prefixes
TREES_VARIABLE = "RSTAR_CONCURRENT_TREES"
_DEFAULT_MIB = {BATCH_VARIABLE: 256, STORE_VARIABLE: 256}
_DEFAULT_TREES = {"local": 1000, "vllm": 256}


def max_trees(engine: Engine) -> int:
    """How many trees a process grows at once, at most.

    Raises:
        UserError: this variable, as those below, is no whole number.
    """
    return _number(TREES_VARIABLE, _DEFAULT_TREES[engine.kind])


def max_batch_tokens(model: Any) -> int:
    """Tokens of context in one forward pass of ``model``."""
    return max(1, (_number(BATCH_VARIABLE, _DEFAULT_MIB[BATCH_VARIABLE]) << 20) // bytes_per_token(model))


def max_store_bytes() -> int:
    """Of the keys and values of prefixes that one model keeps, in case that a search goes on from them."""
    return _number(STORE_VARIABLE, _DEFAULT_MIB[STORE_VARIABLE]) << 20


def bytes_per_token(model: Any) -> int:
    """Of the keys and values that ``model`` has of one token."""
    config = model.config
    return 2 * int(config.num_hidden_layers * config.num_key_value_heads * model.dtype.itemsize) * head_size(config)


def head_size(config: Any) -> int:
    """Channels of one attention head, which not every configuration names."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"{name}: must be a positive whole number, not '{text}'")
    return int(text) if text else default
