"""Policy and PPM over HTTP: what is asked, and what is made of the answers. The real vLLM is in tests/vllm."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import Engine, Params, load_params
from rstar_core.engines.base import SCORE_DIGITS, Sampling, ZeroReward
from rstar_core.engines.encoding import encoder
from rstar_core.engines.load import load_policy
from rstar_core.engines.served.machine import Machine, Model, Role, read_machine
from rstar_core.engines.served.vllm import (
    TextPrompts,
    TokenPrompts,
    VllmModels,
    VllmPolicy,
    VllmReward,
    own_processes,
)
from rstar_core.errors import UserError
from rstar_core.policy.card import ModelSource
from rstar_core.policy.folder import save_reference
from rstar_core.ppm.model import write_null_ppm
from rstar_core.types import Candidate
from tests.unit.engines.fake_server import MODEL, FakeServer, failing
from tests.unit.engines.test_servers import replicas
from tests.unit.engines.tiny import QUESTIONS, STEPS

ENGINE = Engine(kind="vllm", dtype="bfloat16")
MODELS: tuple[Model, ...] = ("policy", "ppm")
SAMPLING = Sampling(0.7, 0.9, 8)


def propose(fake: FakeServer, prompts: Any, sampling: Sampling = SAMPLING, number: int = 3) -> list[Candidate]:
    async def work() -> list[Candidate]:
        async with replicas(fake) as made:
            policy = VllmPolicy(made, MODEL, prompts, sampling)
            return await policy.propose(QUESTIONS[0], STEPS[:1], num_candidates=number, seed=40)

    return asyncio.run(work())


def test_candidates_come_with_tokens_and_logprobs_in_the_order_of_their_seeds(tokenizer: Any) -> None:
    fake = FakeServer()
    found = propose(fake, TokenPrompts(tokenizer))
    assert found[1] == Candidate("n = 41<end_of_step>", 2, (1, 7), (-0.5, -0.25))
    assert [candidate.token_ids[0] for candidate in found] == [0, 1, 2]
    assert fake.prompts == [list(encoder(tokenizer)(QUESTIONS[0], STEPS[:1]).ids)]


def test_greedy_candidates_are_one_that_is_repeated(tokenizer: Any) -> None:
    found = propose(FakeServer(), TokenPrompts(tokenizer), Sampling(0.0, 1.0, 8))
    assert len(found) == 3
    assert len(set(found)) == 1


def test_an_untrained_policy_reads_text_with_demonstrations() -> None:
    fake = FakeServer(max_length=10**6)
    propose(fake, TextPrompts("two_shot"))
    assert "A bakery fills" in fake.prompts[0]
    assert fake.prompts[0].endswith("n = 1\n<end_of_step>\n")


def test_fewer_candidates_than_asked_for_are_none(tokenizer: Any) -> None:
    async def behave(request: Any, body: Any) -> None:
        body["n"] -= fake.asked["/v1/completions"] < 2

    fake = FakeServer(behave)
    assert len(propose(fake, TokenPrompts(tokenizer))) == 3
    assert fake.asked["/v1/completions"] == 2


@pytest.mark.parametrize("is_known", [True, False], ids=["known before", "the server says so"])
def test_a_prompt_without_room_gets_no_candidates_and_one_line(
    tokenizer: Any, capsys: pytest.CaptureFixture[str], is_known: bool
) -> None:
    fake = FakeServer(
        None if is_known else failing(1, 400, "maximum context length"), max_length=9 if is_known else 999
    )
    assert propose(fake, TokenPrompts(tokenizer)) == []
    assert capsys.readouterr().err.count("leaves no room for a step") == 1


def test_scores_are_the_tanh_of_what_is_served_and_too_long_is_0(tokenizer: Any) -> None:
    length = len(encoder(tokenizer)(QUESTIONS[0], STEPS[:1]).ids)

    async def work(max_length: int) -> list[float]:
        async with replicas(FakeServer(max_length=max_length)) as made:
            guide = VllmReward(made, MODEL, encoder(tokenizer))
            return await guide.score(QUESTIONS[0], (), [STEPS[0], STEPS[2], STEPS[0]])

    short, long, again = asyncio.run(work(100))
    assert short == again == round(math.tanh(length / 100), SCORE_DIGITS)
    assert long > short
    assert asyncio.run(work(length)) == [short, 0.0, short]


# --- folders, params and the machine --------------------------------------------------------------------------


def test_a_few_shot_policy_is_served_by_its_own_name(tmp_path: Path) -> None:
    save_reference(tmp_path / "policy", "two_shot", ModelSource("somebody/some-model", "0" * 40))
    models = load_policy(tmp_path / "policy", ENGINE)
    assert isinstance(models, VllmModels)
    assert isinstance(models._prompts(), TextPrompts)
    assert models._name == "somebody/some-model"


def test_a_round_without_a_ppm_has_no_guide(tmp_path: Path) -> None:
    save_reference(tmp_path / "policy", "two_shot", ModelSource("somebody/some-model"))
    write_null_ppm(tmp_path / "ppm")
    models = load_policy(tmp_path / "policy", ENGINE)
    assert isinstance(models.guide("terminal", tmp_path / "ppm"), ZeroReward)
    with pytest.raises(UserError, match=r"its round has no PPM; use the guide 'terminal'"):
        models.guide("ppm", tmp_path / "ppm")


def test_without_vllm_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not there, so engine 'vllm' can't start servers; run make vllm"):
        own_processes("policy", "m", None, ENGINE, Machine(python=tmp_path / "python"))


@pytest.mark.parametrize(
    ("devices", "expected", "memory"),
    [
        ("01234", ["0,1", "2,3", "4"], False),  # apart
        ("0123", ["0,1", "2,3", "0"], True),  # the PPM on what the policy has
        ("", [None, None, None], False),  # nobody knows of any
    ],
)
def test_replicas_have_devices_and_ports_of_their_own(
    devices: str, expected: list[str | None], memory: bool, tmp_path: Path
) -> None:
    (tmp_path / "python").touch()
    policy, ppm = Role(num_replicas=2, tensor_parallel=2), Role()
    machine = Machine(tmp_path / "python", policy, ppm, devices=tuple(devices), port=8000)
    servers = [one for what in MODELS for one in own_processes(what, "m", None, ENGINE, machine)]
    assert [one._wanted_port for one in servers] == [8000, 8001, 8002]
    assert [one._environment.get("CUDA_VISIBLE_DEVICES") for one in servers] == expected
    assert ["--tensor-parallel-size" in one._command for one in servers] == [True, True, False]
    assert ["--gpu-memory-utilization" in one._command for one in servers] == [memory] * 3


def test_too_few_devices_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    machine = Machine(tmp_path / "python", Role(num_replicas=4), devices=("0", "1"))
    with pytest.raises(UserError, match=r"there are 2 GPUs, and .* ask for 4"):
        own_processes("policy", "m", None, ENGINE, machine)


def test_a_pinned_model_is_served_at_its_revision(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    machine = Machine(tmp_path / "python", Role(args=("--seed", "1")))
    (one,) = own_processes("policy", "a/b", "main", ENGINE, machine)
    assert " ".join(one._command).endswith("--revision main --seed 1")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("PPM_REPLICAS", "0", "positive"),
        ("PORT", "x", "a port number"),
        ("POLICY_URLS", "localhost:1", "must be addresses"),
    ],
)
def test_a_senseless_variable_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(f"RSTAR_VLLM_{name}", value)
    with pytest.raises(UserError, match=f"RSTAR_VLLM_{name}: .*{complaint}"):
        read_machine()


def test_the_environment_describes_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTAR_VLLM_POLICY_URLS", "http://a:1/, http://b:2")
    monkeypatch.setenv("RSTAR_VLLM_PPM_ARGS", "--gpu-memory-utilization 0.3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    machine = read_machine()
    assert machine.policy.urls == ("http://a:1", "http://b:2")
    assert machine.ppm.args == ("--gpu-memory-utilization", "0.3")
    assert (machine.port, machine.policy.num_replicas, machine.devices) == (None, 1, ("2", "3"))


def test_vllm_has_no_float64(tmp_path: Path) -> None:
    text = Path("params.yaml").read_text().replace("kind: local, dtype: float64", "kind: vllm, dtype: float64")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="engine: dtype: vLLM has no 'float64'"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text(text.replace("float64", "float32"))
    assert isinstance(load_params(tmp_path / "params.yaml"), Params)
