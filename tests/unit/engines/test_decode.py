"""Batches that candidates join, split and leave, against one candidate alone in plain transformers."""

from __future__ import annotations

import copy
import inspect
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.overrides import TorchFunctionMode

from rstar_core.engines.base import Sampling
from rstar_core.engines.encoding import Prompt
from rstar_core.engines.local.decode import Decoder, Request
from rstar_core.engines.local.kv import PrefixStore
from tests.unit.engines.tiny import next_distribution, nucleus, sampled_alone, watched_passes

STOPS = range(0, 64, 9)  # a candidate meets one in every nine tokens or so
MAX_TOKENS = 10
GREEDY, WILD, NARROW = (Sampling(*settings, MAX_TOKENS) for settings in ((0.0, 1.0), (1.3, 1.0), (0.8, 0.7)))
ROOMY = 1 << 24  # bytes of a store that forgets nothing


def prompts() -> list[Prompt]:
    """Two lines of prompts, each the beginning of the next, and some on their own."""
    rng = random.Random(1)
    lines = [[rng.randrange(64) for _ in range(length)] for length in (40, 23, 1, 2, 17)]
    cuts = [(5, 6, 17, 40), (11, 23), (1,), (2,), (17,)]
    return [
        Prompt(tuple(line[:end]), its[: its.index(end) + 1])
        for line, its in zip(lines, cuts, strict=True)
        for end in its
    ]


REQUESTS = [Request(number, prompt, 1 + number % 4, seed=number) for number, prompt in enumerate(prompts())]
ONE = REQUESTS[3]
BACKWARDS = REQUESTS[::-1]
SCHEDULES = {
    "all at once": [REQUESTS],
    "one by one": [[request] for request in REQUESTS],
    "backwards, in threes": [BACKWARDS[start : start + 3] for start in range(0, len(BACKWARDS), 3)],
    "longest first, then all others": [[ONE], [request for request in REQUESTS if request is not ONE]],
}


def decoder(model: Any, sampling: Sampling, *, store: PrefixStore | None = None, max_batch_tokens: int = 1) -> Decoder:
    return Decoder(model, STOPS, sampling, store or PrefixStore(ROOMY), max_batch_tokens)


def decoded(made: Decoder, waves: Sequence[Sequence[Request]]) -> dict[tuple[Hashable, int], list[int]]:
    """Tokens by the request's key and the candidate's number; a wave joins at each step."""
    waiting, found = list(waves), {}
    with torch.inference_mode():
        while waiting or made.num_live:
            if waiting:
                made.admit(waiting.pop(0))
            for key, number, tokens in made.step():
                assert (key, number) not in found, "a candidate ends once"
                found[key, number] = tokens
    return found


def expected(model: Any, sampling: Sampling) -> dict[tuple[Hashable, int], list[int]]:
    """What each candidate is when nothing is shared: row ``number`` of the seed's random numbers decides."""
    found: dict[tuple[Hashable, int], list[int]] = {}
    for request in REQUESTS:
        uniforms = np.random.default_rng(request.seed).random((request.num_candidates, MAX_TOKENS))
        for number, line in enumerate(uniforms):
            found[request.key, number] = sampled_alone(model, request.prompt.ids, STOPS, sampling, line.tolist())
    return found


@pytest.fixture(scope="module")
def wild(small: Any) -> dict[tuple[Hashable, int], list[int]]:
    return expected(small, WILD)


class _SaysWhere(TorchFunctionMode):
    """Refuses a tensor that our engine makes without saying on which device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.tensor, torch.zeros, torch.empty, torch.ones, torch.full, torch.arange):
            caller = inspect.stack()[1].filename
            assert "engines/local" not in caller or "device" in (kwargs or {}), (caller, function)
        return function(*args, **(kwargs or {}))


def test_every_tensor_is_made_where_the_model_is(small: Any, wild: dict[Any, list[int]]) -> None:
    """No GPU here, so this looks at what is asked for."""
    fast = copy.deepcopy(small).float()
    with _SaysWhere():
        made = Decoder(fast, STOPS, WILD, PrefixStore(ROOMY), 1, small)
        assert decoded(made, [REQUESTS]) == wild


# --- the same tokens, whoever is near -------------------------------------------------------------------------


@pytest.mark.parametrize("max_bytes", [0, ROOMY])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_greedy_is_what_transformers_generates(small: Any, schedule: str, max_bytes: int) -> None:
    store = PrefixStore(max_bytes)
    for _ in range(2):  # the second time prefixes are in the store, if it is roomy
        found = decoded(decoder(small, GREEDY, store=store), SCHEDULES[schedule])
        for request in REQUESTS:
            ids = torch.tensor([request.prompt.ids])
            theirs = small.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=MAX_TOKENS,
                eos_token_id=list(STOPS),
                pad_token_id=0,
            )[0, ids.shape[1] :].tolist()
            assert [found[request.key, number] for number in range(request.num_candidates)] == (
                [theirs] * request.num_candidates
            )
    assert (REQUESTS[0].prompt.ids in store) == (max_bytes > 0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_sample_is_the_same_in_any_company(small: Any, wild: dict[Any, list[int]], schedule: str) -> None:
    store = PrefixStore(ROOMY)
    for _ in range(2):
        assert decoded(decoder(small, WILD, store=store), SCHEDULES[schedule]) == wild
    assert decoded(decoder(small, WILD, store=PrefixStore(0)), SCHEDULES[schedule]) == wild


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_float32_with_the_exact_model_samples_as_float64(small: Any, wild: dict[Any, list[int]], schedule: str) -> None:
    fast = copy.deepcopy(small).float()
    made = Decoder(fast, STOPS, WILD, PrefixStore(ROOMY), 1, small)
    assert decoded(made, SCHEDULES[schedule]) == wild


@pytest.mark.parametrize("temperature", [1.3, 0.0])
def test_where_a_draw_is_in_doubt_the_exact_model_decides(small: Any, temperature: float) -> None:
    """Two tokens as good as each other, and draws at the border between them: all depends on who is ahead."""
    exact, fast = copy.deepcopy(small), copy.deepcopy(small)
    with torch.no_grad():
        for model, ahead, behind in ((exact, 5, 6), (fast, 6, 5)):
            rows = model.lm_head.weight
            rows[behind] = rows[ahead] = 4 * small.lm_head.weight[5]
            rows[ahead] *= 1 + 1e-6
    requests = [Request(number, Prompt((number, 7), (2,)), 2, seed=number) for number in range(64)]

    def sample(*models: Any) -> Any:
        model, *others = models
        made = Decoder(model, STOPS, Sampling(temperature, 1.0, 1), PrefixStore(0), 1, *others)
        with torch.inference_mode():
            made.admit(requests)
            for draw in (draw for members in made._members for draw in members):
                borders = [np.cumsum(next_distribution(one, draw.prompt, 1.3))[5] for one in (exact, fast)]
                draw.uniforms[0] = sum(borders) / 2
            return made.step()

    truth = sample(exact)
    assert sample(fast) != truth
    assert sample(fast, exact) == truth


def test_a_sample_from_a_nucleus_is_the_one_drawn_alone(small: Any) -> None:
    assert decoded(decoder(small, NARROW), SCHEDULES["one by one"]) == expected(small, NARROW)


def test_a_decoder_that_was_emptied_starts_afresh(small: Any, wild: dict[Any, list[int]]) -> None:
    made = decoder(small, WILD)
    for schedule in SCHEDULES.values():
        assert decoded(made, schedule) == wild


def test_requests_with_one_prompt_and_one_seed_get_one_sample(small: Any) -> None:
    found = decoded(decoder(small, WILD), [[Request(key, ONE.prompt, 3, seed=7)] for key in "ab"])
    assert [found["a", number] for number in range(3)] == [found["b", number] for number in range(3)]


def test_asking_for_more_keeps_the_first_ones(small: Any) -> None:
    few, many = (decoded(decoder(small, WILD), [[Request(0, ONE.prompt, count, seed=7)]]) for count in (2, 9))
    assert few.items() <= many.items()
    assert len(set(map(tuple, many.values()))) > 2


def test_candidates_share_a_row_until_they_differ(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched_passes(monkeypatch) as passes:
        found = decoded(decoder(small, NARROW), [[Request(0, ONE.prompt, 40, seed=7)]])
    going_on = [
        {tuple(tokens[:length]) for tokens in found.values() if len(tokens) > length} for length in range(1, 10)
    ]
    assert passes == [[len(ONE.prompt.ids)], *([1] * len(texts) for texts in going_on if texts)]
    assert len(going_on[0]) < 10, "a sample without equals would prove nothing"


def test_whoever_asks_with_the_same_prompt_shares_its_row(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request(key, ONE.prompt, 3, seed=7) for key in "abc"]
    with watched_passes(monkeypatch) as passes:
        found = decoded(decoder(small, NARROW), [requests])
    with watched_passes(monkeypatch) as passes_of_one:
        decoded(decoder(small, NARROW), [requests[:1]])
    assert passes == passes_of_one
    assert len(found) == 9


# --- the distribution -----------------------------------------------------------------------------------------


def assert_follows(counts: Counter[int], probabilities: np.ndarray[Any, Any]) -> None:
    """A chi-square test, in which the rarest tokens count as one; what can't be drawn was not drawn."""
    assert all(probabilities[token] > 0 for token in counts)
    observed = np.array([counts[token] for token in range(len(probabilities))])
    wanted = probabilities / probabilities.sum() * counts.total()
    is_rare = wanted < 10
    if is_rare.any():
        observed, wanted = (np.append(one[~is_rare], one[is_rare].sum()) for one in (observed, wanted))
    is_possible = wanted > 0  # the rest may be nothing at all
    assert chisquare(observed[is_possible], wanted[is_possible]).pvalue > 1e-3


def many(model: Any, sampling: Sampling) -> list[list[int]]:
    made = Decoder(model, [], sampling, PrefixStore(ROOMY), 1)
    return list(decoded(made, [[Request(0, ONE.prompt, 20000, seed=5)]]).values())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_first_tokens_follow_the_models_distribution(small: Any, temperature: float) -> None:
    counts = Counter(tokens[0] for tokens in many(small, Sampling(temperature, 1.0, 1)))
    assert_follows(counts, next_distribution(small, ONE.prompt.ids, temperature))


@pytest.mark.parametrize("top_p", [0.3, 0.9])
def test_top_p_keeps_the_nucleus_and_its_proportions(small: Any, top_p: float) -> None:
    counts = Counter(tokens[0] for tokens in many(small, Sampling(3.0, top_p, 1)))
    kept = nucleus(next_distribution(small, ONE.prompt.ids, 3.0), top_p)
    assert_follows(counts, kept)
    assert 1 < np.count_nonzero(kept) < 64


def test_the_smallest_random_number_draws_a_token_of_the_nucleus_too(small: Any) -> None:
    made = decoder(small, NARROW)
    with torch.inference_mode():
        made.admit([Request(0, ONE.prompt, 1, seed=7)])
        made._members[0][0].uniforms[:] = 0.0
        while made.num_live:
            ended = made.step()
    kept = nucleus(next_distribution(small, ONE.prompt.ids, NARROW.temperature), NARROW.top_p)
    assert ended[0][2][0] == int(np.flatnonzero(kept)[0]) > 0


def test_second_tokens_follow_it_too_given_the_first(small: Any) -> None:
    pairs = many(small, Sampling(3.0, 1.0, 2))
    ((first, _),) = Counter(tokens[0] for tokens in pairs).most_common(1)
    counts = Counter(second for one, second in pairs if one == first)
    assert_follows(counts, next_distribution(small, [*ONE.prompt.ids, first], 3.0))


# --- where a candidate ends -----------------------------------------------------------------------------------


def test_a_candidate_ends_at_its_first_stop_or_its_last_token(wild: dict[Any, list[int]], small: Any) -> None:
    found = decoded(decoder(small, WILD), [REQUESTS]).values()
    assert all(set(tokens[:-1]).isdisjoint(STOPS) for tokens in found)
    stopped = [tokens[-1] in STOPS for tokens in found]
    assert all(len(tokens) == MAX_TOKENS for tokens, has_stopped in zip(found, stopped, strict=True) if not has_stopped)
    assert {True, False} == set(stopped), "both ends were seen"


def test_one_token_is_enough_for_both_ends(small: Any) -> None:
    found = decoded(Decoder(small, range(64), WILD, PrefixStore(0), 1), [REQUESTS])
    assert {len(tokens) for tokens in found.values()} == {1}
    found = decoded(Decoder(small, [], Sampling(1.0, 1.0, 1), PrefixStore(0), 1), [REQUESTS])
    assert {len(tokens) for tokens in found.values()} == {1}


# --- room -----------------------------------------------------------------------------------------------------


def asking(length: int, num_candidates: int) -> Request:
    return Request(0, Prompt((1,) * length, (length,)), num_candidates, seed=1)


@pytest.mark.parametrize(
    ("requests", "fitting"),
    [
        ([], 0),
        ([asking(10, 2)] * 2, 2),  # 4 rows of 10 + 10 positions
        ([asking(10, 2)] * 5, 2),
        ([asking(10, 5)], 1),  # 100 exactly
        ([asking(10, 2), asking(30, 1)], 1),  # the longest counts for every row
        ([asking(90, 9), asking(1, 1)], 1),  # too large, but nothing else is live
    ],
)
def test_as_many_fit_as_their_rows_have_room(small: Any, requests: list[Request], fitting: int) -> None:
    assert decoder(small, WILD, max_batch_tokens=100).num_fitting(requests) == fitting


def test_what_is_live_takes_room_until_it_ends(small: Any) -> None:
    made = Decoder(small, [], WILD, PrefixStore(0), 100)
    with torch.inference_mode():
        made.admit([asking(10, 3)])
        assert made.num_live == 3
        assert made.num_fitting([asking(10, 2)] * 2) == 1
        assert made.num_fitting([asking(10, 3)]) == made.num_fitting([asking(30, 1)]) == 0
        while made.num_live:
            made.step()
    assert made.num_fitting([asking(10, 3)] * 2) == 1


def test_the_rows_of_newcomers_are_as_long_as_those_that_are_live(small: Any) -> None:
    made = decoder(small, WILD, max_batch_tokens=100)
    with torch.inference_mode():
        made.admit([asking(30, 1)])
    assert [made.num_fitting([asking(1, count)]) for count in (1, 2)] == [1, 0]
