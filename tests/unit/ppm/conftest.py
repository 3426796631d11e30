from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import Architecture
from rstar_core.policy.model import load_tokenizer, new_model, save_model
from rstar_core.policy.tokenizer import train_tokenizer

TEXTS = ["What is 2 + 3?\n", "n = 2 + 3\n", "n = n * 4\n", "print(n)\n", "\\boxed{5}\n"]
ARCHITECTURE = Architecture(
    vocab_size=300, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, max_position_embeddings=128
)


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random policy of 30 thousand weights."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = train_tokenizer(TEXTS, ARCHITECTURE.vocab_size, ARCHITECTURE.max_position_embeddings)
    save_model(new_model(ARCHITECTURE, tokenizer, seed=1), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(policy: Path) -> Any:
    return load_tokenizer(policy)
