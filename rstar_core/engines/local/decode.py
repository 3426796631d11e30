"""Sampling on this machine: a batch that candidates join and leave at any step.

Candidates of one prompt share a row for as long as they agree, whoever asked for them: each draws its own token from
the row's distribution, and a row splits where they differ. The sample is the same as with a row each, at the cost of
the distinct texts.

What shares a batch changes the last digits of its float32. Where a draw falls so near a border that this could move it
across, an ``exact`` model in float64 decides, which reads the row alone: the samples are float64's, at float32's speed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rstar_core.engines.base import Sampling
from rstar_core.engines.encoding import Prompt
from rstar_core.engines.local.kv import KvBuffer, PrefixStore, prefill
from rstar_core.errors import UserError


@dataclass(frozen=True, slots=True)
class Request:
    """``num_candidates`` continuations of one prompt. ``seed`` fixes them; ``key`` names them to the caller."""

    key: Hashable
    prompt: Prompt
    num_candidates: int
    seed: int


# A draw so near a border of the cumulative distribution (of 1), or two best logits so close, are in doubt. They lie far
# above what float32 changes; benchmarks/precision.py measures it.
_BORDER = 3e-5
_CLOSE = 1e-3

Ended = tuple[Hashable, int, list[int]]  # the request's key, the candidate's number in it, its tokens


@dataclass(slots=True)
class _Draw:
    """One candidate in flight."""

    key: Hashable
    number: int
    prompt: tuple[int, ...]
    uniforms: np.ndarray[Any, np.dtype[np.float64]]  # one for each token that it may sample
    tokens: list[int] = field(default_factory=list)


class Decoder:
    """``admit`` prompts while there is room, ``step`` until nothing is live. Not thread-safe.

    With an ``exact`` model, the same in float64, samples do not depend on what shares the batch.
    """

    def __init__(
        self,
        model: Any,
        stop_ids: Sequence[int],
        sampling: Sampling,
        store: PrefixStore,
        max_batch_tokens: int,
        exact: Any = None,
    ) -> None:
        self._model = model
        self._exact = exact
        self._stops = frozenset(stop_ids)
        self._sampling = sampling
        self._store = store
        self._max_batch_tokens = max_batch_tokens
        self._buffer = KvBuffer(model.config, model.dtype, model.device)
        self._members: list[list[_Draw]] = []  # of each live row
        self._longest = 0  # the positions that the longest of them may come to need
        self._logits = torch.empty(0, device=model.device)

    @property
    def num_live(self) -> int:
        """Candidates in flight: as many rows as they may come to need."""
        return sum(map(len, self._members))

    def num_fitting(self, requests: Sequence[Request]) -> int:
        """How many of ``requests``, from the first on, may be admitted now; at least one when nothing is live."""
        num_rows, longest = self.num_live, self._longest if self._members else 0
        for fitting, request in enumerate(requests):
            num_rows += request.num_candidates
            longest = max(longest, self._num_positions(request))
            if num_rows * longest > self._max_batch_tokens and (fitting or self._members):
                return fitting
        return len(requests)

    def _num_positions(self, request: Request) -> int:
        return len(request.prompt.ids) + self._sampling.max_tokens

    def admit(self, requests: Sequence[Request]) -> None:
        """Add the candidates of all ``requests``, in one forward pass over what the store does not know."""
        start = len(self._members)
        draws: dict[Prompt, list[_Draw]] = defaultdict(list)
        for request in requests:
            draws[request.prompt] += _draws(request, self._sampling.max_tokens)
        prompts = sorted(draws, key=self._store.num_missing)
        self._longest = max(self._longest if start else 0, *map(self._num_positions, requests))
        self._buffer.reserve(start + len(prompts), self._longest)
        self._members += [draws[prompt] for prompt in prompts]
        logits = self._head(prefill(self._model.base_model, self._buffer, self._store, start, prompts))
        self._logits = torch.cat([self._logits, logits]) if start else logits

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return _logits(self._model, hidden)

    def step(self) -> list[Ended]:
        """One token more for every live candidate; returns those that ended with it."""
        ended: list[Ended] = []
        next_ids = self._write_tokens(self._sample(), ended)
        if next_ids:
            pieces = [[token] for token in next_ids]
            self._logits = self._head(self._buffer.extend(self._model.base_model, 0, pieces))
        return ended

    def _sample(self) -> list[int]:
        """A token for each candidate, row by row."""
        device = self._model.device
        row_of = torch.tensor([row for row, members in enumerate(self._members) for _ in members], device=device)
        uniforms = [draw.uniforms[len(draw.tokens)] for members in self._members for draw in members]
        draws = torch.tensor(uniforms, device=device)
        tokens, in_doubt = _draw_all(self._logits, row_of, draws, self._sampling)
        if self._exact is not None and bool(in_doubt.any()):
            rows = row_of[in_doubt].unique()
            exact = torch.stack([self._read_alone(self._members[row][0]) for row in rows.tolist()])
            again, _ = _draw_all(exact, torch.searchsorted(rows, row_of[in_doubt]), draws[in_doubt], self._sampling)
            tokens[in_doubt] = again
        chosen: list[int] = tokens.tolist()
        return chosen

    def _read_alone(self, draw: _Draw) -> torch.Tensor:
        """The exact model's logits [vocabulary] for the next token of ``draw``."""
        ids = torch.tensor([[*draw.prompt, *draw.tokens]], device=self._exact.device)
        hidden = self._exact.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return _logits(self._exact, hidden[0, -1])

    def _write_tokens(self, tokens: list[int], ended: list[Ended]) -> list[int]:
        """Give candidates their tokens, split and drop rows; the token that each live row goes on with."""
        given = iter(tokens)
        groups = [self._grouped(members, given, ended) for members in self._members]
        next_ids = [0] * len(groups)
        empty = [row for row, group in enumerate(groups) if not group]
        for row, group in enumerate(groups):
            for number, (token, members) in enumerate(group.items()):
                target = row
                if number:
                    target = empty.pop() if empty else len(self._members)
                    self._place(row, target, next_ids)
                self._members[target] = members
                next_ids[target] = token
        self._close_gaps(sorted(empty), next_ids)
        return next_ids

    def _grouped(self, members: list[_Draw], given: Iterator[int], ended: list[Ended]) -> dict[int, list[_Draw]]:
        """The candidates that go on, by their new token."""
        group: dict[int, list[_Draw]] = {}
        for draw in members:
            token = next(given)
            draw.tokens.append(token)
            if token in self._stops or len(draw.tokens) == self._sampling.max_tokens:
                ended.append((draw.key, draw.number, draw.tokens))
            else:
                group.setdefault(token, []).append(draw)
        return group

    def _place(self, source: int, target: int, next_ids: list[int]) -> None:
        if target == len(self._members):
            self._members.append([])
            next_ids.append(0)
            self._buffer.reserve(target + 1, self._longest)
        self._buffer.copy_row(source, target)

    def _close_gaps(self, empty: list[int], next_ids: list[int]) -> None:
        """Move the last rows into the places of those that ended."""
        for row in reversed(empty):
            last = len(self._members) - 1
            if row != last:
                self._buffer.copy_row(last, row)
                self._members[row], next_ids[row] = self._members[last], next_ids[last]
            self._members.pop()
            next_ids.pop()


def _draws(request: Request, max_tokens: int) -> list[_Draw]:
    """Its candidates, each with the random numbers that its own tokens will need."""
    uniforms = np.random.default_rng(request.seed).random((request.num_candidates, max_tokens))
    return [_Draw(request.key, number, request.prompt.ids, line) for number, line in enumerate(uniforms)]


def _logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.get_output_embeddings()(hidden)
    return logits.double()


def _draw_all(
    logits: torch.Tensor, row_of: torch.Tensor, draws: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token for each draw from its row of ``logits`` [rows, vocabulary], and whether it is in doubt.

    Raises:
        UserError: a row holds what is no number.
    """
    if sampling.temperature == 0:
        best = logits.topk(2, -1)
        _refuse_no_numbers(best.values)
        is_close = best.values[:, 0] - best.values[:, 1] < _CLOSE
        return best.indices[row_of, 0], is_close[row_of]
    cdf = _nucleus(torch.softmax(logits / sampling.temperature, -1), sampling.top_p).cumsum(-1)[row_of]
    _refuse_no_numbers(cdf[:, -1])
    wanted = (draws.to(cdf.dtype) * cdf[:, -1])[:, None]
    found = torch.searchsorted(cdf, wanted, right=True).clamp(max=cdf.shape[1] - 1)
    above, below = cdf.gather(1, found), cdf.gather(1, (found - 1).clamp(min=0)).where(found > 0, -torch.inf)
    is_near = torch.minimum(above - wanted, wanted - below) < _BORDER * cdf[:, -1:]
    return found[:, 0], is_near[:, 0]


def _refuse_no_numbers(values: torch.Tensor) -> None:
    if not values.isfinite().all():
        raise UserError("the policy's logits are no numbers (NaN or infinite): its weights are damaged; train it again")


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero outside the smallest set of tokens that holds ``top_p`` of the probability."""
    if top_p >= 1:
        return probabilities
    ordered, order = probabilities.sort(-1, descending=True)
    ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
    return torch.zeros_like(probabilities).scatter(-1, order, ordered)
