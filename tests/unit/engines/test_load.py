"""Folders and params -> engines, and one line for each folder that can't be one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import Engine, Search
from rstar_core.engines.base import ZeroReward
from rstar_core.engines.capacity import (
    bytes_per_token,
    max_batch_tokens,
    max_trees,
)
from rstar_core.engines.load import has_ppm, load_policy
from rstar_core.engines.local.models import LocalModels, load_local
from rstar_core.errors import UserError
from rstar_core.machine.variables import BATCH_MIB, CONCURRENT_TREES, KV_CACHE_MIB
from rstar_core.policy.card import ModelSource
from rstar_core.policy.folder import save_policy, save_reference
from rstar_core.ppm.model import new_ppm, save_ppm, score_batch, write_null_ppm
from rstar_core.ppm.rendering import encode_steps
from tests.unit.engines.tiny import QUESTIONS, STEPS

ENGINE = Engine(kind="local", dtype="float64")
SEARCH = Search(
    uct_c=2.0,
    max_depth=4,
    max_step_tokens=3,
    temperature=1.0,
    top_p=1.0,
    num_parallel_leaves=1,
    settled_after=None,
    record_generations=False,
)


@pytest.fixture(scope="module")
def folder(model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("round") / "policy"
    save_policy(made, model, tokenizer, None)
    return made


@pytest.fixture
def models(folder: Path) -> Iterator[LocalModels]:
    loaded = load_local(folder, ENGINE)
    with loaded.worker:
        yield loaded


def test_the_sampler_is_what_the_search_says(models: LocalModels) -> None:
    async def work(search: Search) -> list[Any]:
        return await models.sampler(search).propose(QUESTIONS[0], (), num_candidates=9, seed=1)

    wild, calm = (asyncio.run(work(SEARCH.model_copy(update={"top_p": top_p}))) for top_p in (1.0, 1e-6))
    assert max(candidate.num_tokens for candidate in wild) == 3
    assert len(set(wild)) > len(set(calm)) == 1
    greedy = asyncio.run(models.policy(0.0, 1.0, 3).propose(QUESTIONS[0], (), num_candidates=1, seed=1))
    assert greedy == calm[:1]
    cold = asyncio.run(work(SEARCH.model_copy(update={"temperature": 1e-6})))
    assert cold == calm


def test_float64_samples_in_float32_with_the_exact_model_at_hand(models: LocalModels, folder: Path) -> None:
    assert (str(models.model.dtype), str(models.exact.dtype)) == ("torch.float32", "torch.float64")
    assert not models.model.training and not models.exact.training
    loaded = load_local(folder, ENGINE.model_copy(update={"dtype": "bfloat16"}))
    with loaded.worker:
        assert (str(loaded.model.dtype), loaded.exact) == ("torch.bfloat16", None)


def test_the_terminal_guide_needs_no_ppm(models: LocalModels, tmp_path: Path) -> None:
    guide = models.guide("terminal", tmp_path / "nowhere")
    assert isinstance(guide, ZeroReward)
    assert asyncio.run(guide.score(QUESTIONS[0], (), STEPS)) == [0.0] * 3


def test_the_ppm_guides_with_its_scores(models: LocalModels, folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    ppm = new_ppm(folder, "float64", seed=2)
    save_ppm(ppm, tokenizer, tmp_path)
    scores = asyncio.run(models.guide("ppm", tmp_path).score(QUESTIONS[0], STEPS[:1], STEPS[1:]))
    rows = [encode_steps(tokenizer, QUESTIONS[0], (STEPS[0], step)) for step in STEPS[1:]]
    assert scores == pytest.approx(score_batch(ppm, tokenizer.pad_token_id, rows), abs=0.5001e-3)
    assert has_ppm(tmp_path)


def test_a_round_without_a_ppm_has_no_guide(models: LocalModels, tmp_path: Path) -> None:
    write_null_ppm(tmp_path / "ppm")
    assert not has_ppm(tmp_path / "ppm")
    with pytest.raises(UserError, match=r"ppm: its round has no PPM; use the guide 'terminal'"):
        models.guide("ppm", tmp_path / "ppm")


def test_a_reference_is_no_policy_to_sample_from(tmp_path: Path) -> None:
    save_reference(tmp_path / "policy", "two_shot", ModelSource("somebody/some-model", "0" * 40))
    with pytest.raises(UserError, match=r"policy: a few-shot policy, which engine 'local' can't sample from"):
        load_policy(tmp_path / "policy", ENGINE)


def test_a_missing_policy_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"policy\.json: not found; run the stage"):
        load_policy(tmp_path / "policy", ENGINE)


@pytest.mark.parametrize("text", ["plenty", "-1", "0", "1.5", "1 GiB", "1e3"])
def test_a_senseless_size_of_the_store_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(KV_CACHE_MIB.name, text)
    with pytest.raises(UserError, match=f"{KV_CACHE_MIB.name}: must be a positive whole number, not '{text}'"):
        load_policy(folder, ENGINE)


@pytest.mark.parametrize(("text", "mebibytes"), [("3", 3), ("", 128)])
def test_the_store_is_as_large_as_the_machine_allows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, mebibytes: int
) -> None:
    monkeypatch.setenv(KV_CACHE_MIB.name, text)
    loaded = load_local(folder, ENGINE)
    loaded.worker.shutdown()
    assert loaded.store._max_bytes == mebibytes * 1024 * 1024


@pytest.mark.parametrize(("mebibytes", "size"), [("1", 1 << 20), ("3", 3 << 20)])
def test_a_batch_is_as_large_as_the_machine_allows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: str, size: int
) -> None:
    monkeypatch.setenv(BATCH_MIB.name, mebibytes)
    model = load_local(folder, ENGINE).model
    tokens, each = max_batch_tokens(model), bytes_per_token(model)
    assert tokens * each <= size < (tokens + 1) * each


@pytest.mark.parametrize(("kind", "most"), [("local", 1000), ("vllm", 256)])
def test_how_many_trees_grow_at_once_is_the_machines_to_say(
    monkeypatch: pytest.MonkeyPatch, kind: str, most: int
) -> None:
    engine = Engine.model_validate({"kind": kind, "dtype": "float32"})
    assert max_trees(engine) == most
    monkeypatch.setenv(CONCURRENT_TREES.name, "7")
    assert max_trees(engine) == 7
