"""The policy in this process: continuous batching over all searches that are under way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from concurrent.futures import Executor
from typing import Any

import torch

from rstar_core.engines.base import Sampling
from rstar_core.engines.encoding import Prompt, encoder, stop_ids
from rstar_core.engines.local.decode import Decoder, Request
from rstar_core.engines.local.driver import Driver
from rstar_core.engines.local.kv import PrefixStore
from rstar_core.types import Candidate, Question, Step

_JOIN_SHARE = 4  # new prompts wait until they make up one candidate in so many: a forward pass for one is a waste


class LocalPolicy:
    """Implements ``PolicyEngine`` with a causal language model whose tokenizer has each step marker as one token.

    ``exact`` is the same model in float64, see ``decode``. A prompt that leaves no room for a whole step gets no
    candidates.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        sampling: Sampling,
        store: PrefixStore,
        max_batch_tokens: int,
        worker: Executor,
        exact: Any = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._max_prompt = model.config.max_position_embeddings - sampling.max_tokens
        self._decoder = Decoder(
            model, [*stop_ids(tokenizer), tokenizer.eos_token_id], sampling, store, max_batch_tokens, exact
        )
        self._texts: dict[Hashable, list[list[int]]] = {}  # tokens of each request's candidates so far
        self._driver = Driver(worker, self._take, self._advance, lambda: self._decoder.num_live > 0)
        self._encode = encoder(tokenizer)
        self._num_refused = 0

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        prompt = self._encode(question, prefix)
        if len(prompt.ids) > self._max_prompt:
            return []
        token_lists = await self._driver.result((prompt, num_candidates, seed))
        return [Candidate(self._tokenizer.decode(tokens), len(tokens)) for tokens in token_lists]

    @property
    def num_waiting(self) -> int:
        """Requests that the batch in progress has no room for."""
        return self._num_refused

    def _take(self, waiting: Sequence[Work]) -> int:
        if sum(number for _, number, _ in waiting) * _JOIN_SHARE < self._decoder.num_live:
            return 0
        fitting = self._decoder.num_fitting([Request(None, *work) for work in waiting])
        self._num_refused = len(waiting) - fitting
        return fitting

    def _advance(self, joining: Sequence[tuple[Hashable, Work]]) -> list[tuple[Hashable, list[list[int]]]]:
        """Sample on until some request has all its candidates."""
        requests = [Request(key, *work) for key, work in joining]
        self._texts.update({request.key: [[]] * request.num_candidates for request in requests})
        finished: list[Hashable] = []
        with torch.inference_mode():
            if requests:
                self._decoder.admit(requests)
            while not finished:
                finished = self._step()
        return [(key, self._texts.pop(key)) for key in finished]

    def _step(self) -> list[Hashable]:
        ended = self._decoder.step()
        for key, number, tokens in ended:
            self._texts[key][number] = tokens
        return [key for key in dict.fromkeys(key for key, _, _ in ended) if all(self._texts[key])]


Work = tuple[Prompt, int, int]  # prompt, number of candidates, seed
