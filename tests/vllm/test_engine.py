"""Policy and PPM on real servers say what the engine in this process says."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstar_core.engines.base import Sampling
from rstar_core.engines.local.models import load_local
from rstar_core.engines.served.machine import Machine, Role
from rstar_core.engines.served.vllm import TextPrompts, VllmModels, VllmPolicy
from rstar_core.errors import UserError
from rstar_core.policy.model import load_tokenizer
from rstar_core.types import Candidate, Question, Step, StepKind
from tests.vllm.conftest import ENGINE, LOCAL, World

pytestmark = pytest.mark.vllm
STEPS = (Step(StepKind.CODE, "# Monday: start\nn = 78"), Step(StepKind.CODE_END, "n = n + 3\nprint(n)", "81\n"))


async def proposals(policy: Any, questions: Sequence[Question], number: int, seed: int = 5) -> list[list[Candidate]]:
    work = (policy.propose(question, (), num_candidates=number, seed=seed) for question in questions)
    return list(await asyncio.gather(*work))


def test_greedy_steps_are_those_of_the_local_engine(world: World, served: Machine) -> None:
    questions = [problem.question for problem in world.problems]

    async def work() -> Any:
        remote, local = world.models(served), load_local(world.policy, LOCAL)
        ours, theirs = (models.policy(0.0, 1.0, 48) for models in (local, remote))
        async with remote, local:
            return await asyncio.gather(proposals(ours, questions, 1), proposals(theirs, questions, 1))

    ours, theirs = asyncio.run(work())
    same = sum(one[0].text == other[0].text for one, other in zip(ours, theirs, strict=True))
    assert same >= 0.95 * len(questions), "float32 may turn a near tie"


def test_samples_are_fixed_by_their_seed_and_come_with_tokens_and_logprobs(world: World, served: Machine) -> None:
    async def work() -> Any:
        models = world.models(served)
        policy = models.policy(1.5, 1.0, 48)
        async with models:
            return [await proposals(policy, [world.problems[0].question], 8, seed) for seed in (1, 1, 2)]

    (first,), (again,), (other,) = asyncio.run(work())
    assert [one.text for one in first] == [one.text for one in again] != [one.text for one in other]
    tokenizer = load_tokenizer(world.policy)
    for candidate in first:
        assert candidate.text == tokenizer.decode(candidate.token_ids)
        assert len(candidate.logprobs) == candidate.num_tokens == len(candidate.token_ids)
        assert all(logprob <= 0 for logprob in candidate.logprobs)


def test_scores_are_those_of_the_local_engine(world: World, served: Machine) -> None:
    async def work() -> Any:
        remote, local = world.models(served), load_local(world.policy, LOCAL)
        guides = [models.guide("ppm", world.ppm) for models in (local, remote)]
        async with remote, local:
            return [await guide.score(world.problems[0].question, STEPS[:1], (STEPS[1], STEPS[0])) for guide in guides]

    ours, theirs = asyncio.run(work())
    assert theirs == pytest.approx(ours, abs=1.001e-3)  # one step of the rounding
    assert len(set(theirs)) == 2


def test_prefixes_are_read_from_the_cache(world: World, served: Machine) -> None:
    async def work() -> None:
        models = world.models(served)
        policy = models.policy(1.0, 1.0, 8)
        async with models:
            for number in range(1, 4):
                await policy.propose(world.problems[1].question, STEPS[:1] * number, num_candidates=4, seed=number)

    before = hits(served)
    asyncio.run(work())
    assert hits(served) > before


def hits(machine: Machine) -> float:
    with urllib.request.urlopen(f"{machine.policy.urls[0]}/metrics") as reply:
        text = reply.read().decode()
    return sum(map(float, re.findall(r"^vllm:prefix_cache_hits_total\{.*\} (\S+)$", text, re.MULTILINE)))


def test_a_prompt_that_is_too_long_fails_its_rollout_alone(
    world: World, served: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether we know its length or the server finds out."""
    endless = Question("endless", "apples " * 600)

    async def work() -> list[Any]:
        models = world.models(served)
        policy = models.policy(1.0, 1.0, 8)
        async with models:
            assert models._policy is not None
            text = VllmPolicy(models._policy, models._name, TextPrompts("zero_shot"), Sampling(1.0, 1.0, 8))
            both = [(policy, endless), (text, endless), (policy, world.problems[0].question)]
            return [await one.propose(question, (), num_candidates=2, seed=1) for one, question in both]

    known, told, fits = asyncio.run(work())
    assert known == told == []
    assert all(candidate.num_tokens for candidate in fits)
    assert capsys.readouterr().err.count("leaves no room for a step") == 2, "one line each"


def test_text_prompts_stop_at_the_markers(world: World, served: Machine) -> None:
    """As an untrained policy is asked: a string, with stop strings."""

    async def work() -> Any:
        models = world.models(served)
        models.policy(0.0, 1.0, 48)
        async with models:
            assert models._policy is not None
            policy = VllmPolicy(models._policy, models._name, TextPrompts("zero_shot"), Sampling(0.0, 1.0, 48))
            return await policy.propose(world.problems[0].question, (), num_candidates=1, seed=1)

    (found,) = asyncio.run(work())
    assert found.text.endswith(("<end_of_step>", "<end_of_code>"))


def test_a_server_of_another_policy_is_refused(world: World, served: Machine, tmp_path: Path) -> None:
    other = tmp_path / "policy"
    other.symlink_to(world.policy)
    models = VllmModels(other, ENGINE, served)
    models.policy(0.0, 1.0, 48)

    async def work() -> None:
        async with models:
            raise AssertionError("entered")

    with pytest.raises(UserError, match=r"serves .*world.*/policy, not .*/policy; start it with --served-model-name"):
        asyncio.run(work())


def test_a_taken_port_is_one_line(world: World, served: Machine) -> None:
    port = int(served.policy.urls[0].rpartition(":")[2])
    models = world.models(replace(served, policy=Role(), port=port))
    models.policy(0.0, 1.0, 48)

    async def work() -> None:
        async with models:
            raise AssertionError("entered")

    with pytest.raises(UserError, match=rf"port {port} is taken"):
        asyncio.run(work())
