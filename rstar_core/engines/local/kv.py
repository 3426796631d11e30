"""Keys and values of attention: one buffer for the rows in flight, and a store of prefixes seen before.

Rows are left-aligned and have lengths of their own, so a row may join, split or leave at any step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import torch

from rstar_core.engines.capacity import head_size
from rstar_core.engines.encoding import Prompt

_POSITIONS = 64  # a buffer grows by so many at least


class KvBuffer:
    """A cache that a transformers decoder writes to in place (it asks for ``update`` and ``get_seq_length``).

    ``_rows[layer, key or value, row, head, position, channel]``; ``lengths`` counts each row's valid positions.
    """

    is_compileable = False

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self._device = device
        shape = (config.num_hidden_layers, 2, 0, config.num_key_value_heads, 0, head_size(config))
        self._rows = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)
        self._writing = slice(0, 0)  # the rows of the forward pass in progress, and the position of each of its tokens
        self._positions = torch.zeros(0, 0, dtype=torch.long, device=device)
        self._reach = 0  # the longest of those rows will be so long

    @property
    def num_positions(self) -> int:
        """Positions that there is room for in each row."""
        return int(self._rows.shape[4])

    def reserve(self, num_rows: int, num_positions: int) -> None:
        """Have room for so many rows of so many positions; what is there stays."""
        layers, halves, rows, heads, positions, channels = self._rows.shape
        if num_rows <= rows and num_positions <= positions:
            return
        # Each growth copies and zeroes everything: grow seldom, in both directions.
        more_rows = max(num_rows, rows + rows // 2) if num_rows > rows else rows
        more_positions = -(-num_positions // _POSITIONS) * _POSITIONS if num_positions > positions else positions
        grown = (layers, halves, more_rows, heads, more_positions, channels)
        old, self._rows = self._rows, self._rows.new_zeros(grown)
        self._rows[:, :, :rows, :, :positions] = old
        self.lengths = torch.cat([self.lengths, self.lengths.new_zeros(self._rows.shape[2] - rows)])

    def extend(self, backbone: Any, start: int, pieces: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append one piece of tokens to each row from ``start``; hidden states [n, width] of the pieces' last tokens.

        Shorter pieces are padded on the right; what padding leaves behind is overwritten later and never attended.
        """
        counts = torch.tensor([len(piece) for piece in pieces], device=self._device)
        width = max(map(len, pieces))
        ids = torch.tensor([[*piece, *([0] * (width - len(piece)))] for piece in pieces], device=self._device)
        self._writing = slice(start, start + len(pieces))
        self._reach = int((self.lengths[self._writing] + counts).max())
        self._positions = self.lengths[self._writing, None] + torch.arange(width, device=self._device)
        self.reserve(self._writing.stop, int(self._positions.max()) + 1)  # padding is written, too
        reach = torch.arange(self.get_seq_length(), device=self._device)
        mask = reach[None, None, None] <= self._positions[:, None, :, None]
        hidden = backbone(
            input_ids=ids, attention_mask=mask, position_ids=self._positions, past_key_values=self, use_cache=True
        ).last_hidden_state
        self.lengths[self._writing] += counts
        last: torch.Tensor = hidden[torch.arange(len(pieces), device=self._device), counts - 1]
        return last

    def get_seq_length(self, layer: int = 0) -> int:
        return self._reach

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.arange(self._writing.start, self._writing.stop, device=self._device)[:, None]
        found = []
        for cache, new in zip(self._rows[layer], (key, value), strict=True):
            cache[rows, :, self._positions] = new.transpose(1, 2)
            found.append(cache[self._writing, :, : self.get_seq_length()])
        return found[0], found[1]

    def copy_row(self, source: int, target: int) -> None:
        length = int(self.lengths[source])
        self._rows[:, :, target, :, :length] = self._rows[:, :, source, :, :length]
        self.lengths[target] = length

    def load(self, row: int, prefix: torch.Tensor | None) -> None:
        """Start ``row`` with what ``save`` returned, or empty."""
        length = 0 if prefix is None else prefix.shape[3]
        if prefix is not None:
            self._rows[:, :, row, :, :length] = prefix
        self.lengths[row] = length

    def save(self, row: int) -> torch.Tensor:
        return self._rows[:, :, row, :, : int(self.lengths[row])].clone()


class PrefixStore:
    """Keys and values of prompts by their token ids, the least recently used forgotten beyond ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._entries: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()

    def __contains__(self, ids: tuple[int, ...]) -> bool:
        return ids in self._entries

    def longest(self, prompt: Prompt) -> torch.Tensor | None:
        """What is here of the longest prefix of ``prompt``, but for its last token: what follows that is to be read."""
        for length in sorted(prompt.lengths, reverse=True):
            key = prompt.ids[:length]
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key][..., : len(prompt.ids) - 1, :]
        return None

    def num_missing(self, prompt: Prompt) -> int:
        """Tokens of ``prompt`` after the longest prefix that is here."""
        found = self.longest(prompt)
        return len(prompt.ids) - (0 if found is None else found.shape[3])

    def put(self, ids: tuple[int, ...], entry: torch.Tensor) -> None:
        if ids in self._entries:
            self._entries.move_to_end(ids)
            return
        self._entries[ids] = entry
        self._num_bytes += entry.nbytes
        while self._num_bytes > self._max_bytes and len(self._entries) > 1:
            _, forgotten = self._entries.popitem(last=False)
            self._num_bytes -= forgotten.nbytes


def prefill(backbone: Any, buffer: KvBuffer, store: PrefixStore, start: int, prompts: Sequence[Prompt]) -> torch.Tensor:
    """Put ``prompts`` into the rows from ``start``, in forward passes over what ``store`` does not know.

    They are best given in the order of ``num_missing``: neighbours share a pass where padding is less than half of
    it. Returns the hidden states [n, width] of their last tokens.
    """
    pieces = []
    for row, prompt in enumerate(prompts, start=start):
        buffer.load(row, store.longest(prompt))
        pieces.append(prompt.ids[int(buffer.lengths[row]) :])
    hidden: list[torch.Tensor] = []
    done = 0
    while done < len(pieces):
        neighbours = list(takewhile(_is_at_most(2 * len(pieces[done])), pieces[done:]))
        hidden.append(buffer.extend(backbone, start + done, neighbours))
        done += len(neighbours)
    for row, prompt in enumerate(prompts, start=start):
        if prompt.ids not in store:
            store.put(prompt.ids, buffer.save(row))
    return torch.cat(hidden)


def _is_at_most(length: int) -> Callable[[Sequence[int]], bool]:
    return lambda piece: len(piece) <= length
