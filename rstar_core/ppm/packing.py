"""A node's texts in one row: their common start once, then each text's own end, which sees the start and itself.

The texts of a node share the prompt and all earlier steps, which is most of their tokens. Packed, a forward pass
works these out once; scores are those of the texts alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

_SHARED = -1  # the owner of the common start
_PADDING = -2
_ROWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class PackedRow:
    """``ids``, ``positions`` (in the text) and ``owners`` (which text), one entry per token; ``ends``: one per text."""

    ids: list[int]
    positions: list[int]
    owners: list[int]
    ends: list[int]

    @property
    def shared(self) -> list[int]:
        """The ids of the common start."""
        return self.ids[: self.owners.count(_SHARED)]


def pack(texts: Sequence[Sequence[int]]) -> PackedRow:
    """Texts (token ids, none empty) -> one row. Every text keeps at least its last token to itself."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*(text[:-1] for text in texts), strict=False))
    start = sum(1 for _ in columns)
    row = PackedRow(list(texts[0][:start]), list(range(start)), [_SHARED] * start, [])
    for owner, text in enumerate(texts):
        row.ids.extend(text[start:])
        row.positions.extend(range(start, len(text)))
        row.owners.extend([owner] * (len(text) - start))
        row.ends.append(len(row.ids) - 1)
    return row


def own_tokens(row: PackedRow, texts: Container[int]) -> Iterator[tuple[int, int]]:
    """(place of the token before it, id) of every token that one of ``texts`` has to itself."""
    start = row.owners.count(_SHARED)
    for place, owner in enumerate(row.owners):
        before = place - 1 if place > start and row.owners[place - 1] == owner else start - 1
        if owner in texts and before >= 0:
            yield before, row.ids[place]


def collate_rows(rows: Sequence[PackedRow], pad_id: int) -> dict[str, Any]:
    """Right-padded tensors of n rows of width w: ``input_ids`` and ``position_ids`` (n, w), ``attention_mask``
    (n, 1, w, w), true where a token (third axis) sees another (fourth), ``widths`` (n,) without padding, ``ends`` (2,
    number of texts): row and place of each text's last token, in the order of rows and texts, and ``own`` (3, number
    of them): row, place and text of each token that a text has to itself.
    """
    import torch

    width = max(len(row.ids) for row in rows)
    ids, positions, owners = (
        torch.tensor([[*values, *[fill] * (width - len(values))] for values in columns])
        for columns, fill in (
            ([row.ids for row in rows], pad_id),
            ([row.positions for row in rows], 0),
            ([row.owners for row in rows], _PADDING),
        )
    )
    firsts = accumulate((len(row.ends) for row in rows), initial=0)  # each row's first text
    own = [
        (n, place, first + owner)
        for n, (row, first) in enumerate(zip(rows, firsts, strict=False))
        for place, owner in enumerate(row.owners)
        if owner != _SHARED
    ]
    is_seen = (owners[:, None, :] == _SHARED) | (owners[:, None, :] == owners[:, :, None])
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": (is_seen & torch.ones(width, width, dtype=torch.bool).tril())[:, None],
        "widths": torch.tensor([len(row.ids) for row in rows]),
        "ends": torch.tensor([[n, end] for n, row in enumerate(rows) for end in row.ends]).T,
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
