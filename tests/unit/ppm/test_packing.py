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


TEXT = st.lists(st.integers(1, 3), min_size=1, max_size=5)
NODES = st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=3)


def flat(nodes: list[list[list[int]]]) -> list[list[int]]:
    return [text for node in nodes for text in node]


def test_packed_texts_score_as_they_do_alone(policy: Path) -> None:
    model = new_ppm(policy, "float32", seed=3).eval()
    model.score.weight.data *= 100  # scores far apart
    pad_id = model.config.pad_token_id
    with torch.inference_mode():
        batch = collate_rows([pack([texts]) for texts in TEXTS], pad_id)
        packed = logits_at_ends(model, packed_hidden(model, batch), batch)
        alone = model(**pad_rows([text for texts in TEXTS for text in texts], pad_id)).logits
    assert packed.shape == alone.shape
    assert torch.allclose(packed, alone, atol=1e-4)
    assert alone.std() > 0.1


def test_the_common_start_is_there_once() -> None:
    row = pack([[[5, 6, 7, 8], [5, 6, 9]]])
    assert row.ids == [5, 6, 7, 8, 9]
    assert row.positions == [0, 1, 2, 3, 2]
    assert row.lasts == [4, 4, 3, 3, 4]
    assert row.paths == [[0, 1, 2, 3], [0, 1, 4]]
    assert row.starts == [2, 2]


def test_nodes_of_one_problem_share_what_they_have_in_common() -> None:
    row = pack([[[1, 2, 3], [1, 2, 4]], [[1, 2, 3, 5], [1, 2, 3, 6]], [[1, 2, 4, 7]]])
    assert row.ids == [1, 2, 3, 5, 6, 4, 7]
    assert row.starts == [2, 2, 3, 3, 3]
    assert [[row.ids[place] for place in path] for path in row.paths][2:] == [[1, 2, 3, 5], [1, 2, 3, 6], [1, 2, 4, 7]]


@given(NODES)
@settings(max_examples=200, deadline=None)
def test_what_each_text_sees_is_that_text(nodes: list[list[list[int]]]) -> None:
    row = pack(nodes)
    batch = collate_rows([row], pad_id=0)
    assert len(row.ids) == len({tuple(text[:end]) for text in flat(nodes) for end in range(1, len(text) + 1)})
    for text, path in zip(flat(nodes), row.paths, strict=True):
        seen = batch["attention_mask"][0, 0, path[-1]].nonzero().flatten().tolist()
        assert seen == path
        assert [row.ids[place] for place in seen] == text
        assert [row.positions[place] for place in seen] == list(range(len(text)))


def test_a_row_of_padding_alone_sees_something() -> None:
    """A softmax over nothing would be NaN."""
    batch = collate_rows([pack([[[1, 2, 3]]]), pack([[[4]]])], pad_id=0)
    assert batch["attention_mask"].any(-1).all()


@pytest.mark.parametrize("num_rows", [1, 3])
def test_ends_name_every_text_in_order(num_rows: int) -> None:
    batch = collate_rows([pack([[[1, 2], [1, 3]]])] * num_rows, pad_id=0)
    assert batch["ends"].T.tolist() == [[row, end] for row in range(num_rows) for end in (1, 2)]


def num_common(texts: list[list[int]]) -> int:
    """Of all texts of a node, of which each keeps its last token."""
    starts = [tuple(text[:-1]) for text in texts]
    return next(size for size in range(9, -1, -1) if len({(start[:size], len(start) >= size) for start in starts}) == 1
                and all(len(start) >= size for start in starts))  # fmt: skip


@given(NODES)
@settings(max_examples=200, deadline=None)
def test_an_own_token_follows_the_token_before_it_in_its_text(nodes: list[list[list[int]]]) -> None:
    row = pack(nodes)
    starts = [num_common(node) for node in nodes for _ in node]
    assert row.starts == starts
    for number, (text, start) in enumerate(zip(flat(nodes), starts, strict=True)):
        tokens = list(own_tokens(row, number))
        first = max(start, 1)  # nothing comes before a text's first token
        assert [token for _, token in tokens] == text[first:]
        assert [row.ids[before] for before, _ in tokens] == text[first - 1 : -1]
        assert [row.positions[before] for before, _ in tokens] == list(range(first - 1, len(text) - 1))


@given(st.lists(NODES, min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_own_tokens_are_named_with_their_texts(groups: list[list[list[list[int]]]]) -> None:
    rows = [pack(nodes) for nodes in groups]
    batch = collate_rows(rows, pad_id=0)
    texts = [(text, start) for row, nodes in zip(rows, groups, strict=True)
             for text, start in zip(flat(nodes), row.starts, strict=True)]  # fmt: skip
    for number, (text, start) in enumerate(texts):
        own = [int(batch["input_ids"][n, place]) for n, place, which in batch["own"].T.tolist() if which == number]
        assert own == text[start:]
