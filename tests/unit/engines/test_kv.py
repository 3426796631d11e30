"""Keys and values: what comes back is what was put in, and padding leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from rstar_core.engines.encoding import Prompt
from rstar_core.engines.local.kv import KvBuffer, PrefixStore, prefill
from tests.unit.engines.tiny import watched_passes

ROOMY = 1 << 24
ENTRY = torch.zeros(2, 2, 1, 8)


def whole(length: int, *, seed: int = 1) -> Prompt:
    rng = random.Random(seed)
    return Prompt(tuple(rng.randrange(64) for _ in range(length)), (length,))


def prefilled(
    model: Any, prompts: Sequence[Prompt], store: PrefixStore, start: int = 0
) -> tuple[torch.Tensor, KvBuffer]:
    buffer = KvBuffer(model.config, model.dtype, model.device)
    buffer.reserve(start + len(prompts), max(len(prompt.ids) for prompt in prompts))
    with torch.inference_mode():
        return prefill(model.base_model, buffer, store, start, prompts), buffer


def plain(model: Any, prompts: Sequence[Prompt]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model.base_model(torch.tensor([prompt.ids])).last_hidden_state[:, -1] for prompt in prompts])


# --- prefill --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(3, 5, 6), (1, 2, 9, 18, 80), (7, 7), (30, 4, 61, 1)])
def test_padding_changes_no_hidden_state(small: Any, lengths: tuple[int, ...]) -> None:
    prompts = [whole(length, seed=length) for length in lengths]
    together, _ = prefilled(small, prompts, PrefixStore(ROOMY), start=2)
    alone = torch.cat([prefilled(small, [prompt], PrefixStore(ROOMY))[0] for prompt in prompts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-11)
    torch.testing.assert_close(together, plain(small, prompts), rtol=0, atol=1e-11)


def test_a_stored_prefix_changes_no_hidden_state_and_is_not_worked_out_again(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = whole(50).ids
    store = PrefixStore(ROOMY)
    prefilled(small, [Prompt(long[:20], (20,)), Prompt(long[:40], (20, 40))], store)
    prompts = [Prompt((*long[:40], tail), (20, 40, 41)) for tail in (1, 2)] + [Prompt((*long[:20], 3, 4, 5), (20, 23))]
    with watched_passes(monkeypatch) as passes:
        found, _ = prefilled(small, prompts, store)
    assert passes == [[1, 1], [3]]
    torch.testing.assert_close(found, plain(small, prompts), rtol=0, atol=1e-11)


def test_neighbours_share_a_pass_where_padding_is_less_than_half(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched_passes(monkeypatch) as passes:
        prefilled(small, [whole(length, seed=length) for length in (1, 2, 3, 6, 7)], PrefixStore(ROOMY))
    assert passes == [[1, 2], [3, 6], [7]]


# --- the buffer -----------------------------------------------------------------------------------------------


def test_rows_survive_saving_copying_and_growing(small: Any) -> None:
    prompts = [whole(4, seed=4), whole(9, seed=9)]
    _, buffer = prefilled(small, prompts, PrefixStore(ROOMY))
    before = [buffer.save(row) for row in (0, 1)]
    buffer.reserve(5, 100)
    buffer.copy_row(0, 4)
    buffer.load(3, before[1])
    buffer.load(1, None)
    assert buffer.num_positions >= 100
    assert buffer.lengths.tolist() == [4, 0, 0, 9, 4]
    assert all(torch.equal(buffer.save(row), entry) for row, entry in ((0, before[0]), (4, before[0]), (3, before[1])))


def test_what_was_saved_does_not_change_with_the_row(small: Any) -> None:
    _, buffer = prefilled(small, [whole(4)], PrefixStore(ROOMY))
    saved = buffer.save(0)
    before = saved.clone()
    buffer.load(0, torch.zeros_like(saved))
    assert torch.equal(saved, before)


# --- the store ------------------------------------------------------------------------------------------------


def filled(max_entries: int, *keys: tuple[int, ...]) -> PrefixStore:
    store = PrefixStore(max_entries * ENTRY.nbytes)
    for ids in keys:
        store.put(ids, ENTRY)
    return store


def here(store: PrefixStore) -> list[bool]:
    return [(number,) in store for number in (1, 2, 3)]


def test_the_least_recently_put_is_forgotten() -> None:
    assert here(filled(2, (1,), (2,), (3,))) == [False, True, True]
    assert here(filled(2, (1,), (2,), (1,), (3,))) == [True, False, True]


def test_looking_up_is_using() -> None:
    store = filled(2, (1,), (2,))
    store.longest(Prompt((1, 9), (1, 2)))
    store.put((3,), ENTRY)
    assert here(store) == [True, False, True]


def test_a_prompt_put_again_takes_no_more_room() -> None:
    assert here(filled(3, (1,), (2,), (2,), (2,), (3,))) == [True, True, True]


def test_forgetting_makes_room_for_as_much() -> None:
    store = filled(2, *((number,) for number in range(10, 30)), (2,), (3,))
    assert here(store) == [False, True, True]


def test_the_last_one_stays_however_large() -> None:
    assert here(filled(0, (1,), (2,))) == [False, True, False]


def test_the_longest_prefix_is_found_but_for_the_last_token() -> None:
    store = PrefixStore(ROOMY)
    entries = {length: torch.full((1, 1, 1, length, 1), float(length)) for length in (2, 4, 6)}
    ids = tuple(range(6))
    for length, entry in entries.items():
        store.put(ids[:length], entry)

    def found(prompt: Prompt) -> list[float]:
        entry = store.longest(prompt)
        return [] if entry is None else entry.flatten().tolist()

    assert found(Prompt((*ids, 6), (2, 6, 7))) == [6.0] * 6
    assert found(Prompt(ids, (2, 4, 6))) == [6.0] * 5, "what follows the last token is yet to be read"
    assert found(Prompt((*ids[:4], 9), (2, 4, 5))) == [4.0] * 4
    assert found(Prompt((0, 1, 9), (2, 3))) == [2.0] * 2
    assert found(Prompt((*ids, 6), (3, 7))) == [], "only at the lengths that the prompt names"
    assert found(Prompt((9, 1, 2), (2, 3))) == []


def test_the_missing_are_the_tokens_after_that_prefix() -> None:
    store = PrefixStore(ROOMY)
    store.put((1, 2), torch.zeros(1, 2, 1, 2, 1))
    assert [store.num_missing(Prompt(ids, (2, len(ids)))) for ids in ((1, 2, 3), (1, 2), (4, 5, 6, 7))] == [1, 1, 4]
