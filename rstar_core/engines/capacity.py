"""How much of this machine's memory searches may take. Science is in params.yaml; these change no result of float64."""

from __future__ import annotations

from typing import Any

from rstar_core.config import Engine
from rstar_core.machine import variables

_DEFAULT_TREES = {"local": 1000, "vllm": 256, "scripted": 64}


def max_trees(engine: Engine) -> int:
    """How many trees a process grows at once, at most."""
    return variables.CONCURRENT_TREES.get() or _DEFAULT_TREES[engine.kind]


def max_batch_tokens(model: Any) -> int:
    """Tokens of context, whose keys and values one forward pass of ``model`` holds."""
    return max(1, (variables.BATCH_MIB.get() << 20) // bytes_per_token(model))


def max_store_bytes() -> int:
    """Of the keys and values of prefixes that one model keeps, in case that a search goes on from them."""
    return variables.KV_CACHE_MIB.get() << 20


def bytes_per_token(model: Any) -> int:
    """Of the keys and values that ``model`` has of one token."""
    config = model.config
    return 2 * int(config.num_hidden_layers * config.num_key_value_heads * model.dtype.itemsize) * head_size(config)


def head_size(config: Any) -> int:
    """Channels of one attention head, which not every configuration names."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
