"""The project's own labelled pairs, by category."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rstar_core.answers.equivalence import Verdict
from tests.unit.answers.bench import Bench

PAIRS: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("pairs.jsonl").read_text("utf-8").splitlines()
]
MIN_AGREEMENT = 0.99


def test_every_category_is_there_once_and_with_something_to_tell() -> None:
    assert len(PAIRS) >= 200
    assert len({(pair["gold"], pair["answer"]) for pair in PAIRS}) == len(PAIRS)
    assert min(Counter(pair["category"] for pair in PAIRS).values()) >= 2


@pytest.mark.slow
def test_agreement_with_our_own_labels_and_no_false_positive(bench: Bench) -> None:
    rulings = bench.rulings([(pair["gold"], pair["answer"]) for pair in PAIRS])
    judged = [(pair, ruling.verdict is Verdict.EQUAL) for pair, ruling in zip(PAIRS, rulings, strict=True)]
    assert not [pair for pair, is_equal in judged if is_equal and not pair["equal"]]
    assert sum(is_equal == pair["equal"] for pair, is_equal in judged) >= MIN_AGREEMENT * len(PAIRS)
