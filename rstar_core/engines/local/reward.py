"""The PPM in this process: scores of sibling steps, with the keys and values of their prefix computed once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import Executor
from math import isfinite
from typing import Any

import torch

from rstar_core.engines.base import SCORE_DIGITS
from rstar_core.engines.encoding import Prompt, encoder
from rstar_core.engines.local.driver import Driver
from rstar_core.engines.local.kv import KvBuffer, PrefixStore, prefill
from rstar_core.errors import UserError
from rstar_core.ppm.model import score_batch, score_of_logits
from rstar_core.types import Question, Step

# A score so near to where rounding turns is in doubt. It lies far above what float32 changes; benchmarks/precision.py
# measures it.
_BORDER = 3e-5


class LocalReward:
    """Implements ``RewardEngine`` with a PPM. A text that is too long for the model scores 0: it was never judged.

    Scores are rounded, so that they do not depend on what shares the batch. Where float32 can't tell to which side,
    ``exact`` does, the same model in float64, which reads the text alone.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        store: PrefixStore,
        max_batch_tokens: int,
        worker: Executor,
        exact: Any = None,
    ) -> None:
        self._model = model
        self._exact = exact
        self._store = store
        self._max_batch_tokens = max_batch_tokens
        self._max_length = model.config.max_position_embeddings
        self._buffer = KvBuffer(model.config, model.dtype, model.device)
        self._encode = encoder(tokenizer)
        self._driver = Driver(worker, self._take, self._advance, lambda: False)

    async def score(self, question: Question, prefix: Sequence[Step], steps: Sequence[Step]) -> list[float]:
        texts = [self._encode(question, (*prefix, step)) for step in steps]
        fitting = [text for text in texts if len(text.ids) <= self._max_length]
        scores = await self._driver.result(fitting) if fitting else {}
        return [scores.get(text.ids, 0.0) for text in texts]

    def _take(self, waiting: Sequence[list[Prompt]]) -> int:
        num_rows, longest = 0, 0
        for number, texts in enumerate(waiting):
            num_rows += len(texts)
            longest = max(longest, *(len(text.ids) for text in texts))
            if num_rows * longest > self._max_batch_tokens and number:
                return number
        return len(waiting)

    def _advance(
        self, batch: Sequence[tuple[Hashable, list[Prompt]]]
    ) -> list[tuple[Hashable, dict[tuple[int, ...], float]]]:
        """Scores by token ids. A common prefix is worked out once, and not at all where it was a text before."""
        texts = {text.ids: text for _, its in batch for text in its}
        prefixes = {prefix.ids: prefix for prefix in map(_prefix, texts.values()) if prefix.ids not in self._store}
        with torch.inference_mode():
            if prefixes:
                self._hidden(prefixes.values())
            hidden = self._hidden(texts.values())
            scores = score_of_logits(self._model.score(torch.stack(list(hidden.values())))).tolist()
        if not all(map(isfinite, scores)):
            raise UserError("the PPM's scores are no numbers: its weights are damaged; train it again")
        score_of = {ids: self._rounded(score, ids) for ids, score in zip(hidden, scores, strict=True)}
        return [(key, {text.ids: score_of[text.ids] for text in its}) for key, its in batch]

    def _hidden(self, texts: Iterable[Prompt]) -> dict[tuple[int, ...], torch.Tensor]:
        """The hidden state [width] of each text's last token, by the text's ids."""
        ordered = sorted(texts, key=self._store.num_missing)
        self._buffer.reserve(len(ordered), max(len(text.ids) for text in ordered))
        hidden = prefill(self._model.base_model, self._buffer, self._store, 0, ordered)
        return {text.ids: row for text, row in zip(ordered, hidden, strict=True)}

    def _rounded(self, score: float, ids: Sequence[int]) -> float:
        if self._exact is not None and _is_in_doubt(score):
            (score,) = score_batch(self._exact, self._exact.config.pad_token_id, [list(ids)])
        return round(score, SCORE_DIGITS)


def _is_in_doubt(score: float) -> bool:
    step = 0.1**SCORE_DIGITS
    return abs(abs(score) % step - step / 2) < _BORDER


def _prefix(text: Prompt) -> Prompt:
    """The text without its last step."""
    *earlier, length, _ = text.lengths
    return Prompt(text.ids[:length], (*earlier, length))
