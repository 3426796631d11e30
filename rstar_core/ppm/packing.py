"""Texts in one row, as a tree: what several of them begin with is there once, and each token sees its own text only.

The texts of a problem share the prompt and most of their steps, which is most of their tokens. Packed, a forward pass
works these out once; scores are those of the texts alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

_ROWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A tree of tokens in depth-first order.

    ``ids``, ``positions`` (in a text) and ``lasts`` (the place of the last token below) have one entry per token.
    ``paths`` are the places of each text's tokens, ``starts`` how many of these all texts of its node have.
    """

    ids: list[int]
    positions: list[int]
    lasts: list[int]
    paths: list[list[int]]
    starts: list[int]


def pack(nodes: Sequence[Sequence[Sequence[int]]]) -> PackedRow:
    """The texts (token ids, none empty) of some nodes -> one row; ``paths`` are in the order of nodes and texts."""
    ids: list[int] = []
    positions: list[int] = []
    lasts: list[int] = []
    path: list[int] = []
    paths: dict[tuple[int, ...], list[int]] = {}
    before: tuple[int, ...] = ()
    texts = [tuple(text) for node in nodes for text in node]
    for text in sorted(set(texts)):  # so that texts with a common start come one after another
        shared = _num_shared([before, text])
        for place in path[shared:]:
            lasts[place] = len(ids) - 1
        new = range(len(ids), len(ids) + len(text) - shared)
        path = [*path[:shared], *new]
        ids += text[shared:]
        positions += range(shared, len(text))
        lasts += new
        paths[text], before = path, text
    for place in path:
        lasts[place] = len(ids) - 1
    starts = [start for node in nodes for start in [_num_common(node)] * len(node)]
    return PackedRow(ids, positions, lasts, [paths[text] for text in texts], starts)


def _num_common(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with; every text keeps at least its last token to itself."""
    return _num_shared([text[:-1] for text in texts])


def _num_shared(texts: Sequence[Sequence[int]]) -> int:
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def own_tokens(row: PackedRow, text: int) -> Iterator[tuple[int, int]]:
    """(place of the token before it, id) of every token that ``text`` (its number) has beyond its node's start.

    The first token of a text does not count: nothing is before it.
    """
    path = row.paths[text]
    for place in range(max(row.starts[text], 1), len(path)):
        yield path[place - 1], row.ids[path[place]]


def collate_rows(rows: Sequence[PackedRow], pad_id: int) -> dict[str, Any]:
    """Right-padded tensors of n rows of width w: ``input_ids`` and ``position_ids`` (n, w), ``attention_mask``
    (n, 1, w, w), true where a token (third axis) sees another (fourth), ``widths`` (n,) without padding, ``ends`` (2,
    number of texts): row and place of each text's last token, in the order of rows and texts, and ``own`` (3, number
    of them): row, place and text of each token that a text has beyond its node's start.
    """
    import torch

    width = max(len(row.ids) for row in rows)
    places = torch.arange(width)
    ids = torch.tensor([row.ids + [pad_id] * (width - len(row.ids)) for row in rows])
    positions = torch.tensor([row.positions + [0] * (width - len(row.ids)) for row in rows])
    lasts = torch.tensor([row.lasts + list(range(len(row.ids), width)) for row in rows])  # padding sees itself
    is_before = places[None, :] <= places[:, None]
    firsts = accumulate((len(row.paths) for row in rows), initial=0)  # each row's first text
    own = [
        (n, place, first + text)
        for n, (row, first) in enumerate(zip(rows, firsts, strict=False))
        for text, (path, start) in enumerate(zip(row.paths, row.starts, strict=True))
        for place in path[start:]
    ]
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": (is_before & (places[:, None] <= lasts[:, None, :]))[:, None],
        "widths": torch.tensor([len(row.ids) for row in rows]),
        "ends": torch.tensor([[n, path[-1]] for n, row in enumerate(rows) for path in row.paths]).T,
        "own": torch.tensor(own).T,
    }


def batches_of_like_width(
    rows: Sequence[PackedRow], pad_id: int, device: Any
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """``collate_rows`` of some rows at a time, on ``device``, and their places in ``rows``."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
    for first in range(0, len(order), _ROWS_AT_ONCE):
        places = order[first : first + _ROWS_AT_ONCE]
        batch = collate_rows([rows[place] for place in places], pad_id)
        yield places, {name: tensor.to(device) for name, tensor in batch.items()}


def packed_hidden(model: Any, batch: dict[str, Any]) -> Any:
    """The last hidden states, of shape (n, w, hidden size), 0 where there is only padding.

    Narrow and wide rows go apart: whole solutions are twice as long as single steps, and together half were padding.
    """
    import torch

    parts = [rows for rows in _narrow_and_wide(batch["widths"]) if len(rows)]
    states = [_hidden(model, batch, rows, int(batch["widths"][rows].max())) for rows in parts]
    whole = [torch.nn.functional.pad(part, (0, 0, 0, batch["input_ids"].shape[1] - part.shape[1])) for part in states]
    return torch.cat(whole)[torch.cat(parts).argsort()]


def _narrow_and_wide(widths: Any) -> tuple[Any, Any]:
    """Row numbers in two parts, such that both, each padded to its widest, are the fewest tokens."""
    order = widths.argsort(stable=True)
    ascending = widths[order].tolist()
    num_rows = len(ascending)

    def num_tokens(cut: int) -> int:
        return int(cut * ascending[cut - 1] + (num_rows - cut) * ascending[-1])

    cut = min(range(1, num_rows + 1), key=num_tokens)
    return order[:cut], order[cut:]


def _hidden(model: Any, batch: dict[str, Any], rows: Any, width: int) -> Any:
    return model.base_model(
        input_ids=batch["input_ids"][rows, :width],
        position_ids=batch["position_ids"][rows, :width],
        attention_mask=batch["attention_mask"][rows, :, :width, :width],
        use_cache=False,
    ).last_hidden_state


def logits_at_ends(model: Any, hidden: Any, batch: dict[str, Any]) -> Any:
    """Logits of shape (number of texts, 1): the score head of ``model`` at each text's last token."""
    return model.score(hidden[batch["ends"][0], batch["ends"][1]])
