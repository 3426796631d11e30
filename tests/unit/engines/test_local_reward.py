"""The PPM in this process: the scores of whole texts, whoever shares the batch and whatever is stored."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import pytest
import torch

from rstar_core.engines.local.kv import PrefixStore
from rstar_core.engines.local.reward import LocalReward
from rstar_core.errors import UserError
from rstar_core.ppm.model import score_batch
from rstar_core.ppm.rendering import encode_steps
from rstar_core.types import Question, Step, StepKind
from tests.unit.engines.tiny import CASES, MAX_POSITIONS, QUESTIONS, STEPS, watched_passes

SIBLINGS = [Step(StepKind.CODE, f"n = {number}") for number in (1, 22, 333)]
ROOMY = 1 << 24
HALF_A_STEP = 0.5001e-3  # of the rounding
Case = tuple[Question, tuple[Step, ...]]
MakeReward = Callable[..., LocalReward]


@pytest.fixture
def reward(ppm: Any, tokenizer: Any, worker: Executor) -> MakeReward:
    def make(max_batch_tokens: int = 4096, max_bytes: int = ROOMY, model: Any = ppm, exact: Any = None) -> LocalReward:
        return LocalReward(model, tokenizer, PrefixStore(max_bytes), max_batch_tokens, worker, exact)

    return make


def score_all(reward: LocalReward, cases: Sequence[Case] = CASES) -> list[list[float]]:
    async def work() -> list[list[float]]:
        return await asyncio.gather(*(reward.score(question, prefix, SIBLINGS) for question, prefix in cases))

    return asyncio.run(work())


@pytest.fixture(scope="module")
def of_whole_texts(ppm: Any, tokenizer: Any) -> list[Any]:
    rows = [[encode_steps(tokenizer, question, (*prefix, step)) for step in SIBLINGS] for question, prefix in CASES]
    return [pytest.approx(score_batch(ppm, tokenizer.pad_token_id, row), abs=HALF_A_STEP) for row in rows]


def test_scores_are_those_of_the_whole_texts(reward: MakeReward, of_whole_texts: list[Any]) -> None:
    made = reward()
    first, again = score_all(made), score_all(made)
    assert first == again == of_whole_texts
    assert max(max(scores) - min(scores) for scores in first) > 0.1, "equal scores would prove nothing"


def test_scores_that_are_no_numbers_are_an_error(reward: MakeReward, ppm: Any) -> None:
    broken = copy.deepcopy(ppm)
    broken.score.weight.data[:] = math.nan
    with pytest.raises(UserError, match="scores are no numbers"):
        score_all(reward(model=broken), CASES[:1])


def test_scores_do_not_depend_on_the_batch_or_the_store(reward: MakeReward) -> None:
    together = score_all(reward())
    backwards = score_all(reward(), CASES[::-1])[::-1]
    crowded, forgetful = score_all(reward(max_batch_tokens=1)), score_all(reward(max_bytes=0))
    alone = [score_all(reward(), [case])[0] for case in CASES]
    assert together == backwards == crowded == forgetful == alone


def test_float32_with_the_exact_model_scores_as_float64(reward: MakeReward, ppm: Any) -> None:
    fast, truth = copy.deepcopy(ppm).float(), score_all(reward())
    assert score_all(reward(model=fast, exact=ppm)) == truth
    assert score_all(reward(model=fast, exact=ppm, max_batch_tokens=1, max_bytes=0)) == truth


def test_where_a_score_is_near_the_turn_of_rounding_the_exact_model_decides(
    reward: MakeReward, ppm: Any, tokenizer: Any
) -> None:
    text = encode_steps(tokenizer, QUESTIONS[0], SIBLINGS[:1])
    score = score_batch(ppm, tokenizer.pad_token_id, [text])[0]
    turn = (int(score * 1000) + math.copysign(0.5, score)) / 1000
    exact, fast = copy.deepcopy(ppm), copy.deepcopy(ppm)
    with torch.no_grad():
        for model, side in ((exact, 1 + 1e-5), (fast, 1 - 1e-5)):
            model.score.weight *= side * math.atanh(turn) / math.atanh(score)

    def found(**models: Any) -> list[float]:
        return asyncio.run(reward(**models).score(QUESTIONS[0], (), SIBLINGS[:1]))

    assert found(model=fast, exact=exact) == found(model=exact) != found(model=fast)


def test_a_prefix_is_worked_out_once(reward: MakeReward, monkeypatch: pytest.MonkeyPatch) -> None:
    question, made = QUESTIONS[0], reward()
    with watched_passes(monkeypatch) as passes:
        score_all(made, [(question, STEPS[:2])])
    (prefix,), *tails = passes
    assert [len(tail) for tail in tails] == [3] and max(tails[0]) < prefix
    with watched_passes(monkeypatch) as passes:
        score_all(made, [(question, (*STEPS[:2], SIBLINGS[1]))])
    assert [len(tail) for tail in passes] == [3], "one of the texts before is the prefix now"


def test_equal_steps_have_equal_scores(reward: MakeReward) -> None:
    one, two = SIBLINGS[:2]
    scores = asyncio.run(reward().score(QUESTIONS[0], STEPS[:1], [one, two, one]))
    assert scores[0] == scores[2] != scores[1]


def test_no_steps_have_no_scores(reward: MakeReward) -> None:
    assert asyncio.run(reward().score(QUESTIONS[0], (), [])) == []


def test_a_text_too_long_for_the_model_scores_nothing_and_its_sibling_as_ever(
    reward: MakeReward, ppm: Any, tokenizer: Any
) -> None:
    question, body = QUESTIONS[0], "n = 1"
    while len(encode_steps(tokenizer, question, [Step(StepKind.CODE, body)])) < MAX_POSITIONS:
        body += "1"
    longest, longer = Step(StepKind.CODE, body), Step(StepKind.CODE, body + "1")
    found = asyncio.run(reward().score(question, (), [longer, longest, SIBLINGS[0]]))
    rows = [encode_steps(tokenizer, question, [step]) for step in (longest, SIBLINGS[0])]
    assert len(rows[0]) == MAX_POSITIONS
    expected = [score_batch(ppm, tokenizer.pad_token_id, [row])[0] for row in rows]
    assert found == [0.0, *(pytest.approx(score, abs=HALF_A_STEP) for score in expected)]
    assert 0.0 not in found[1:]
    assert asyncio.run(reward().score(question, (), [longer])) == [0.0]


def test_a_failing_model_fails_every_caller(reward: MakeReward, ppm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppm.score, "forward", lambda hidden: 1 / 0)
    made = reward(max_batch_tokens=1)

    async def work() -> list[Any]:
        calls = (made.score(question, (), SIBLINGS) for question in QUESTIONS)
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in asyncio.run(work())] == [ZeroDivisionError] * len(QUESTIONS)
