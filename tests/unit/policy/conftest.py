from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstar_core.cot.prompt import zero_shot
from rstar_core.policy.model import new_model
from rstar_core.policy.tokenizer import train_tokenizer
from tests.unit.policy.tiny import ARCHITECTURE, EXAMPLES, make_plain


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    texts = (zero_shot(one.question, one.steps) for one in EXAMPLES)
    return train_tokenizer(texts, ARCHITECTURE.vocab_size, ARCHITECTURE.max_position_embeddings)


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return new_model(ARCHITECTURE, tokenizer, seed=1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See ``make_plain``."""
    made = tmp_path_factory.mktemp("pretrained")
    make_plain(made)
    return made
