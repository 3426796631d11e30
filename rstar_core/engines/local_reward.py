"""The PPM in this process: scores of sibling steps, with the keys and values of their prefix computed once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

import torch

from rstar_core.engines.driver import Driver
from rstar_core.engines.encoding import Prompt, encoder
from rstar_core.engines.kv import KvBuffer, PrefixStore, prefill
from rstar_core.ppm.model import score_of_logits
from rstar_core.types import Question, Step

_DIGITS = 3
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
        self._buffer = KvBuffer(model.config, model.dtype)
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
            scores = _scores(self._model, self._hidden(texts.values()))
            if self._exact is not None:
                in_doubt = [ids for ids, score in scores.items() if _is_in_doubt(score)]
                scores |= _scores(self._exact, {ids: self._read_alone(ids) for ids in in_doubt})
        return [(key, {text.ids: round(scores[text.ids], _DIGITS) for text in its}) for key, its in batch]

    def _hidden(self, texts: Iterable[Prompt]) -> dict[tuple[int, ...], torch.Tensor]:
        """The hidden state [width] of each text's last token, by the text's ids."""
        ordered = sorted(texts, key=self._store.num_missing)
        self._buffer.reserve(len(ordered), max(len(text.ids) for text in ordered))
        hidden = prefill(self._model.base_model, self._buffer, self._store, 0, ordered)
        return {text.ids: row for text, row in zip(ordered, hidden, strict=True)}

    def _read_alone(self, ids: Sequence[int]) -> torch.Tensor:
        """As ``_hidden``, of one text, by the exact model."""
        hidden: torch.Tensor = self._exact.base_model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
        return hidden[0, -1]


def _scores(model: Any, hidden: dict[tuple[int, ...], torch.Tensor]) -> dict[tuple[int, ...], float]:
    if not hidden:
        return {}
    scores = score_of_logits(model.score(torch.stack(list(hidden.values())))).tolist()
    return dict(zip(hidden, scores, strict=True))


def _is_in_doubt(score: float) -> bool:
    steps = abs(score) * 10**_DIGITS
    return abs(steps % 1 - 0.5) < _BORDER * 10**_DIGITS


def _prefix(text: Prompt) -> Prompt:
    """The text without its last step."""
    *earlier, length, _ = text.lengths
    return Prompt(text.ids[:length], (*earlier, length))
