"""Tiny random models in float64, questions and steps, and what plain transformers make of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from rstar_core.engines.base import Sampling
from rstar_core.engines.local.kv import KvBuffer
from rstar_core.types import Question, Step, StepKind

QUESTIONS = [Question(str(number), "Add " + " and ".join(map(str, range(number + 2))) + ".") for number in range(5)]
STEPS = (Step(StepKind.CODE, "n = 1"), Step(StepKind.CODE, "n = n + 23"), Step(StepKind.CODE_END, "print(n)", "24\n"))
CASES = [(question, STEPS[:length]) for question in QUESTIONS for length in range(4)]
MAX_POSITIONS = 256


def config(vocab_size: int, **more: Any) -> LlamaConfig:
    """Of a model whose distributions are far from flat; weights depend on nothing but this."""
    torch.manual_seed(1)
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.5,
        **more,
    )


def next_distribution(model: Any, ids: Sequence[int], temperature: float = 1.0) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids]])).logits[0, -1]
    found: np.ndarray[Any, Any] = torch.softmax(logits / temperature, -1).numpy()
    return found


def sampled_alone(
    model: Any, ids: Sequence[int], stops: Collection[int], sampling: Sampling, uniforms: Sequence[float]
) -> list[int]:
    """One candidate from one whole forward pass for each token: no cache, no batch, no shared rows."""
    tokens: list[int] = []
    while len(tokens) < sampling.max_tokens and not (tokens and tokens[-1] in stops):
        probabilities = nucleus(next_distribution(model, [*ids, *tokens], sampling.temperature), sampling.top_p)
        cdf = np.cumsum(probabilities)
        tokens.append(int(np.searchsorted(cdf, uniforms[len(tokens)] * cdf[-1], side="right")))
    return tokens


def nucleus(probabilities: np.ndarray[Any, Any], top_p: float) -> np.ndarray[Any, Any]:
    """The likeliest tokens, one after another until they hold ``top_p``; zero for the others."""
    kept, total = np.zeros_like(probabilities), 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if total >= top_p:
            break
        kept[token] = probabilities[token]
        total += probabilities[token]
    return kept


@contextmanager
def watched_passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """The lengths of the pieces in each forward pass."""
    passes: list[list[int]] = []
    original = KvBuffer.extend

    def extend(self: KvBuffer, backbone: Any, start: int, pieces: Sequence[Sequence[int]]) -> torch.Tensor:
        passes.append([len(piece) for piece in pieces])
        return original(self, backbone, start, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(KvBuffer, "extend", extend)
        yield passes
