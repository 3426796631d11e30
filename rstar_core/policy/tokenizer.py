"""Tokenizers that know the step markers: one trained from scratch, or a pretrained one extended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rstar_core.cot.grammar import MARKERS

_BEGIN, _END, _PAD = "<|begin|>", "<|end|>", "<|pad|>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> Any:
    """A byte-level BPE with single digits, trained on ``texts``; merges may span words, but no digit or capital.

    Phrases of a small world become single tokens, which is what makes a tiny policy quick to sample from.
    Returns a ``PreTrainedTokenizerFast``. The same texts give the same tokenizer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\\boxed\{|\d|[A-Z][a-z]+|[^\dA-Z]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS) - 3,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_BEGIN, eos_token=_END, pad_token=_PAD, model_max_length=max_length
    )
    return add_markers(wrapped)


def add_markers(tokenizer: Any) -> Any:
    """Make each step marker one special token that swallows the white space around it; returns ``tokenizer``.

    White space beside a marker is layout: without it prompts are shorter and segments tokenise independently.
    """
    from tokenizers import AddedToken

    tokens = [AddedToken(marker, lstrip=True, rstrip=True, normalized=False, special=True) for marker in MARKERS]
    tokenizer.add_special_tokens({"extra_special_tokens": tokens})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
