"""Texts packed into one row score as they do alone, and cost their common start once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_core.ppm.model import new_ppm, pad_rows
from rstar_core.ppm.packing import collate_rows, logits_at_ends, own_tokens, pack, packed_hidden

TEXTS = [
    [[5, 6, 7, 8, 9], [5, 6, 7, 10], [5, 6, 7, 8, 11, 12]],  # a common start
    [[20, 21], [30, 31, 32]],  # none
    [[40, 41, 42], [40, 41]],  # one text begins the other
    [[50, 51], [50, 51]],  # equal texts
]


def test_packed_texts_score_as_they_do_alone(policy: Path) -> None:
    model = new_ppm(policy, "float32", seed=3).eval()
    model.score.weight.data *= 100  # scores far apart
    pad_id = model.config.pad_token_id
    with torch.inference_mode():
        batch = collate_rows([pack(texts) for texts in TEXTS], pad_id)
        packed = logits_at_ends(model, packed_hidden(model, batch), batch)
        alone = model(**pad_rows([text for texts in TEXTS for text in texts], pad_id)).logits
    assert packed.shape == alone.shape
    assert torch.allclose(packed, alone, atol=1e-4)
    assert alone.std() > 0.1


def test_the_common_start_is_there_once() -> None:
    row = pack([[5, 6, 7, 8], [5, 6, 9]])
    assert row.ids == [5, 6, 7, 8, 9]
    assert row.positions == [0, 1, 2, 3, 2]
    assert row.ends == [3, 4]


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_what_each_text_sees_is_that_text(texts: list[list[int]]) -> None:
    row = pack(texts)
    batch = collate_rows([row], pad_id=0)
    for text, end in zip(texts, row.ends, strict=True):
        seen = batch["attention_mask"][0, 0, end].nonzero().flatten().tolist()
        assert [row.ids[place] for place in seen] == text
        assert [row.positions[place] for place in seen] == list(range(len(text)))


def test_a_row_of_padding_alone_sees_something() -> None:
    """A softmax over nothing would be NaN."""
    batch = collate_rows([pack([[1, 2, 3]]), pack([[4]])], pad_id=0)
    assert batch["attention_mask"].any(-1).all()


@pytest.mark.parametrize("num_rows", [1, 3])
def test_ends_name_every_text_in_order(num_rows: int) -> None:
    batch = collate_rows([pack([[1, 2], [1, 3]])] * num_rows, pad_id=0)
    assert batch["ends"].T.tolist() == [[row, end] for row in range(num_rows) for end in (1, 2)]


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_an_own_token_follows_the_token_before_it_in_its_text(texts: list[list[int]]) -> None:
    row = pack(texts)
    start = row.owners.count(-1)
    for owner, text in enumerate(texts):
        tokens = list(own_tokens(row, {owner}))
        first = max(start, 1)  # nothing comes before a text's first token
        assert [token for _, token in tokens] == text[first:]
        assert [row.ids[before] for before, _ in tokens] == text[first - 1 : -1]
        assert [row.positions[before] for before, _ in tokens] == list(range(first - 1, len(text) - 1))


TEXT = st.lists(st.integers(1, 3), min_size=1, max_size=5)


@given(st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_own_tokens_are_named_with_their_texts(nodes: list[list[list[int]]]) -> None:
    rows = [pack(texts) for texts in nodes]
    batch = collate_rows(rows, pad_id=0)
    texts = [(row, text) for row, its in zip(rows, nodes, strict=True) for text in its]
    for number, (row, text) in enumerate(texts):
        own = [int(batch["input_ids"][n, place]) for n, place, which in batch["own"].T.tolist() if which == number]
        assert own == text[row.owners.count(-1) :]
