from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from rstar_core.cot.prompt import zero_shot
from rstar_core.policy.tokenizer import train_tokenizer
from tests.unit.engines.tiny import MAX_POSITIONS, QUESTIONS, STEPS, config


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return train_tokenizer([zero_shot(question, STEPS) for question in QUESTIONS], 400, MAX_POSITIONS)


@pytest.fixture(scope="session")
def model(tokenizer: Any) -> Any:
    return LlamaForCausalLM(config(len(tokenizer), pad_token_id=tokenizer.pad_token_id)).double().eval()


@pytest.fixture(scope="session")
def ppm(tokenizer: Any) -> Any:
    settings = config(len(tokenizer), pad_token_id=tokenizer.pad_token_id, num_labels=1)
    return LlamaForSequenceClassification(settings).double().eval()


@pytest.fixture(scope="session")
def small() -> Any:
    """A policy of 64 tokens: no words, just distributions."""
    return LlamaForCausalLM(config(64)).double().eval()


@pytest.fixture(scope="session")
def worker() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor
