"""The policy in this process, against plain transformers: the same text, whoever calls and whenever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import pytest
import torch

from rstar_core.cot.grammar import STOPS
from rstar_core.cot.prompt import zero_shot
from rstar_core.engines.base import Sampling
from rstar_core.engines.encoding import encoder
from rstar_core.engines.local.kv import PrefixStore
from rstar_core.engines.local.policy import LocalPolicy
from rstar_core.errors import UserError
from rstar_core.policy.rendering import encode_prompt
from rstar_core.types import Candidate, Question, Step
from tests.unit.engines.tiny import CASES, MAX_POSITIONS, QUESTIONS, STEPS

MAX_TOKENS = 12
MakePolicy = Callable[..., LocalPolicy]


@pytest.fixture
def policy(model: Any, tokenizer: Any, worker: Executor) -> MakePolicy:
    def make(temperature: float = 1.0, top_p: float = 1.0, max_batch_tokens: int = 4096) -> LocalPolicy:
        sampling = Sampling(temperature, top_p, MAX_TOKENS)
        return LocalPolicy(model, tokenizer, sampling, PrefixStore(1 << 24), max_batch_tokens, worker)

    return make


async def ask(policy: LocalPolicy, question: Question, prefix: Sequence[Step], number: int) -> list[Candidate]:
    return await policy.propose(question, prefix, num_candidates=number, seed=len(question.text) + len(prefix))


def propose_all(
    policy: LocalPolicy, cases: Sequence[tuple[Question, tuple[Step, ...]]], num_candidates: int = 6
) -> list[list[Candidate]]:
    async def work() -> list[list[Candidate]]:
        return await asyncio.gather(*(ask(policy, *case, num_candidates) for case in cases))

    return asyncio.run(work())


def greedy_by_transformers(model: Any, tokenizer: Any, prompt: str) -> str:
    ids = encode_prompt(tokenizer, prompt)
    stops = {*tokenizer.convert_tokens_to_ids([*STOPS]), tokenizer.eos_token_id}
    start = len(ids)
    while (len(ids) - start < MAX_TOKENS and ids[-1] not in stops) or len(ids) == start:
        with torch.inference_mode():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return str(tokenizer.decode(ids[start:]))


# --- what is sampled ------------------------------------------------------------------------------------------


def test_greedy_is_transformers_own_choice_token_by_token(policy: MakePolicy, model: Any, tokenizer: Any) -> None:
    found = propose_all(policy(temperature=0.0), CASES, num_candidates=1)
    expected = [greedy_by_transformers(model, tokenizer, zero_shot(*case)) for case in CASES]
    assert [candidates[0].text for candidates in found] == expected


def test_a_sample_does_not_depend_on_what_shares_its_batch(policy: MakePolicy) -> None:
    together = propose_all(policy(), CASES)
    reverse = propose_all(policy(max_batch_tokens=500), CASES[::-1])[::-1]
    alone = [propose_all(policy(), [case])[0] for case in CASES]
    assert together == reverse == alone
    assert len({candidate.text for candidate in together[0]}) > 1, "a sample of one text would prove nothing"


def test_a_sample_does_not_depend_on_when_its_caller_came(policy: MakePolicy) -> None:
    made = policy()

    async def late(place: int, case: tuple[Question, tuple[Step, ...]]) -> list[Candidate]:
        await asyncio.sleep(0.003 * (place % 7))
        return await ask(made, *case, 1 + place % 6)

    async def work() -> list[list[Candidate]]:
        return await asyncio.gather(*(late(place, case) for place, case in enumerate(CASES)))

    expected = [one[: 1 + place % 6] for place, one in enumerate(propose_all(policy(), CASES))]
    assert asyncio.run(work()) == asyncio.run(work()) == expected


def test_another_seed_is_another_sample(policy: MakePolicy) -> None:
    async def work(seed: int) -> list[Candidate]:
        return await policy().propose(QUESTIONS[0], (), num_candidates=6, seed=seed)

    assert asyncio.run(work(1)) == asyncio.run(work(1)) != asyncio.run(work(2))


def test_a_vanishing_nucleus_is_greedy(policy: MakePolicy) -> None:
    greedy = propose_all(policy(temperature=0.0), CASES, 1)
    assert [case[:1] for case in propose_all(policy(top_p=1e-6), CASES, 3)] == greedy


def test_tokens_are_counted_with_the_stop(policy: MakePolicy, tokenizer: Any) -> None:
    counts = [candidate.num_tokens for case in propose_all(policy(), CASES) for candidate in case]
    assert max(counts) == MAX_TOKENS
    assert min(counts) >= 1


def test_a_candidate_has_its_marker(policy: MakePolicy, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy(temperature=0.0)
    marker = tokenizer.convert_tokens_to_ids("<end_of_step>")
    monkeypatch.setattr(made._decoder, "_sample", lambda: [marker] * made._decoder.num_live)
    assert propose_all(made, CASES[:1], 2) == [[Candidate("<end_of_step>", 1)] * 2]


# --- prompts --------------------------------------------------------------------------------------------------


def test_a_prompt_is_encoded_like_its_text_and_knows_where_its_steps_begin(tokenizer: Any) -> None:
    encode = encoder(tokenizer)
    for question, prefix in CASES:
        prompt = encode(question, prefix)
        assert prompt.ids == tuple(encode_prompt(tokenizer, zero_shot(question, prefix)))
        assert prompt.lengths == tuple(len(encode(question, prefix[:end]).ids) for end in range(len(prefix) + 1))


def test_markers_in_a_problems_text_are_plain_text(tokenizer: Any) -> None:
    prompt = encoder(tokenizer)(Question("p", f"Say {STOPS[0]} and {STOPS[1]}."), ())
    assert not set(prompt.ids) & set(tokenizer.convert_tokens_to_ids([*STOPS]))


def test_a_prompt_without_room_for_a_step_gets_no_candidates(policy: MakePolicy, tokenizer: Any) -> None:
    encode, text = encoder(tokenizer), "1"
    while len(encode(Question("", text), ()).ids) < MAX_POSITIONS - MAX_TOKENS:
        text += "1"
    longest, longer = Question("longest", text), Question("longer", text + "1")
    fits, fits_not, other = propose_all(policy(), [(longest, ()), (longer, ()), CASES[0]], 2)
    assert fits_not == []
    assert all(candidate.num_tokens for candidate in fits + other)


# --- what goes wrong ------------------------------------------------------------------------------------------


def test_a_tokenizer_without_markers_is_refused(model: Any, worker: Executor) -> None:
    class Plain:
        eos_token_id = 0

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return [ord(letter) for letter in text]

    with pytest.raises(UserError, match="step markers"):
        LocalPolicy(model, Plain(), Sampling(1.0, 1.0, MAX_TOKENS), PrefixStore(1), 4096, worker)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error(
    policy: MakePolicy, model: Any, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    head = model.get_output_embeddings()
    monkeypatch.setattr(model, "get_output_embeddings", lambda: lambda hidden: head(hidden) * torch.nan)
    with pytest.raises(UserError, match="logits are no numbers"):
        propose_all(policy(temperature=temperature), CASES[:1])


@pytest.mark.parametrize("passes", [0, 1, 6])
def test_a_failing_model_fails_every_caller(
    policy: MakePolicy, model: Any, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """Those in the batch and those who wait for room."""
    forward, calls = model.base_model.forward, iter(range(99))

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= passes:
            raise ZeroDivisionError
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.base_model, "forward", failing)
    made = policy(max_batch_tokens=200)

    async def work() -> list[Any]:
        return await asyncio.gather(*(ask(made, question, STEPS, 2) for question in QUESTIONS), return_exceptions=True)

    assert [type(result) for result in asyncio.run(work())] == [ZeroDivisionError] * len(QUESTIONS)
