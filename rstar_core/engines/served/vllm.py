"""Policy and PPM served by vLLM: completions of one server, pooled scores of another, both over HTTP.

vLLM lives in an environment of its own and is only ever a server. What is sampled depends on the request's seed and,
in the last digits of the logits, on what shares its batch: two runs are alike, not identical.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rstar_core.config import Engine, Search
from rstar_core.cot.grammar import STOPS
from rstar_core.cot.prompt import PROMPTS
from rstar_core.engines.base import SCORE_DIGITS, PolicyEngine, RewardEngine, Sampling, ZeroReward
from rstar_core.engines.encoding import Encoder, encoder, stop_ids
from rstar_core.engines.served.machine import Machine, Model, Place, places
from rstar_core.engines.served.process import ServerProcess
from rstar_core.engines.served.servers import PromptTooLong, Replicas, Server
from rstar_core.errors import UserError
from rstar_core.policy.card import read_policy_card
from rstar_core.policy.model import load_tokenizer
from rstar_core.ppm.model import is_null_ppm, score_of_logits
from rstar_core.types import Candidate, Question, Step


class TokenPrompts:
    """For a policy that has each step marker as a token: prompts are token ids, and stops too."""

    def __init__(self, tokenizer: Any) -> None:
        self._encode = encoder(tokenizer)
        self.stops = {"stop_token_ids": stop_ids(tokenizer)}

    def prompt(self, question: Question, prefix: Sequence[Step]) -> list[int]:
        return list(self._encode(question, prefix).ids)


class TextPrompts:
    """For a policy that was never trained on the markers: prompts are text, and stops are strings."""

    def __init__(self, name: str) -> None:
        self._render = PROMPTS[name]
        self.stops = {"stop": list(STOPS)}

    def prompt(self, question: Question, prefix: Sequence[Step]) -> str:
        return self._render(question, prefix)


class VllmPolicy:
    """Implements ``PolicyEngine`` over the completions API."""

    def __init__(self, replicas: Replicas, model: str, prompts: TokenPrompts | TextPrompts, sampling: Sampling) -> None:
        self._replicas = replicas
        self._prompts = prompts
        self._sampling = sampling
        self._warned = False
        self._fixed = {
            "model": model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "logprobs": 0,  # of the sampled token alone
            "return_token_ids": True,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "include_stop_str_in_output": True,
            **prompts.stops,
        }

    @property
    def num_waiting(self) -> int:
        """Requests in the servers' queues."""
        return self._replicas.num_waiting

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        prompt = self._prompts.prompt(question, prefix)
        is_greedy = self._sampling.temperature == 0  # all alike, and vLLM wants one of them
        number = 1 if is_greedy else num_candidates
        try:
            if len(prompt) + self._sampling.max_tokens > self._replicas.max_length and isinstance(prompt, list):
                raise PromptTooLong(f"{len(prompt)} tokens where the context has {self._replicas.max_length}")
            body = {**self._fixed, "prompt": prompt, "n": number, "seed": seed}
            found = await self._replicas.ask("/v1/completions", body, question.id, lambda it: _candidates(it, number))
        except PromptTooLong as error:
            self._warn(error)
            found = []
        return found * num_candidates if is_greedy else found

    def _warn(self, error: PromptTooLong) -> None:
        if not self._warned:
            self._warned = True
            print(f"policy: a prompt leaves no room for a step, so its rollout fails ({error})", file=sys.stderr)


def _candidates(content: Any, number: int) -> list[Candidate]:
    """The completions of one answer in the order of their indices; ``ValueError`` where they are not all there."""
    choices = sorted(content["choices"], key=lambda choice: int(choice["index"]))
    reasons = {choice["finish_reason"] for choice in choices}
    if len(choices) != number or not reasons <= {"stop", "length"}:
        raise ValueError(f"{len(choices)} of {number} completions, ended by {reasons}")
    return [_candidate(choice) for choice in choices]


def _candidate(choice: Any) -> Candidate:
    token_ids, logprobs = choice["token_ids"], (choice.get("logprobs") or {}).get("token_logprobs") or ()
    return Candidate(choice["text"], len(token_ids), tuple(token_ids), tuple(round(it, 5) for it in logprobs))


class VllmReward:
    """Implements ``RewardEngine`` over the pooling API. A text that is too long scores 0: it was never judged."""

    def __init__(self, replicas: Replicas, model: str, encode: Encoder) -> None:
        self._replicas = replicas
        self._model = model
        self._encode = encode

    async def score(self, question: Question, prefix: Sequence[Step], steps: Sequence[Step]) -> list[float]:
        texts = [self._encode(question, (*prefix, step)).ids for step in steps]
        fitting = [text for text in dict.fromkeys(texts) if len(text) <= self._replicas.max_length]
        scores = await self._scores(question, fitting) if fitting else []
        known = dict(zip(fitting, scores, strict=True))
        return [known.get(text, 0.0) for text in texts]

    async def _scores(self, question: Question, texts: Sequence[tuple[int, ...]]) -> list[float]:
        body = {"model": self._model, "input": [list(text) for text in texts], "use_activation": False}
        return await self._replicas.ask("/pooling", body, question.id, lambda it: _scores(it, len(texts)))


def _scores(content: Any, number: int) -> list[float]:
    import torch

    rows = sorted(content["data"], key=lambda row: int(row["index"]))
    if len(rows) != number:
        raise ValueError(f"{len(rows)} of {number} scores")
    scores = score_of_logits(torch.tensor([row["data"] for row in rows], dtype=torch.float64)).tolist()
    if not all(map(isfinite, scores)):
        raise ValueError("a score that is no number")
    return [round(score, SCORE_DIGITS) for score in scores]


class VllmModels:
    """The models of a round, on servers that run while this context is entered.

    Engines are made before it is entered: it then starts the servers that they need.
    """

    def __init__(self, folder: Path, engine: Engine, machine: Machine) -> None:
        self._folder = folder
        self._engine = engine
        self._machine = machine
        self._card = read_policy_card(folder)
        self._policy: Replicas | None = None
        self._ppm: Replicas | None = None

    def policy(self, temperature: float, top_p: float, max_step_tokens: int) -> PolicyEngine:
        if self._policy is None:
            self._policy = self._replicas("policy", self._name)
        return VllmPolicy(self._policy, self._name, self._prompts(), Sampling(temperature, top_p, max_step_tokens))

    def sampler(self, search: Search) -> PolicyEngine:
        """The policy as a search samples from it."""
        return self.policy(search.temperature, search.top_p, search.max_step_tokens)

    def guide(self, kind: Literal["terminal", "ppm"], ppm: Path) -> RewardEngine:
        """The guide of a search; ``terminal`` needs no PPM.

        Raises:
            UserError: ``ppm`` is asked for and the folder says that its round has none.
        """
        if kind == "terminal":
            return ZeroReward()
        if is_null_ppm(ppm):
            raise UserError(f"{ppm}: its round has no PPM; use the guide 'terminal' with it")
        if self._ppm is None:
            self._ppm = self._replicas("ppm", str(ppm))
        return VllmReward(self._ppm, str(ppm), encoder(load_tokenizer(ppm)))

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(replicas.start() for replicas in self._all()))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*(replicas.stop() for replicas in self._all()))

    def _all(self) -> list[Replicas]:
        return [replicas for replicas in (self._policy, self._ppm) if replicas is not None]

    @property
    def _name(self) -> str:
        """What the policy is called on its servers: vLLM's own default for what it serves."""
        return self._card.reference.name if self._card.reference else str(self._folder)

    def _prompts(self) -> TokenPrompts | TextPrompts:
        if self._card.reference is not None:
            return TextPrompts(self._card.prompt)
        return TokenPrompts(load_tokenizer(self._folder))

    def _replicas(self, what: Model, model: str) -> Replicas:
        machine = self._machine
        urls = machine.role(what).urls
        if urls:
            servers = [Server(f"vllm {what}", model, machine.silence, url=url) for url in urls]
            return Replicas(servers, machine.patience)
        revision = self._card.reference.revision if self._card.reference and what == "policy" else None
        processes = own_processes(what, model, revision, self._engine, machine)
        servers = [
            Server(f"vllm {what} {number}", model, machine.silence, process=process)
            for number, process in enumerate(processes)
        ]
        return Replicas(servers, machine.patience)


# --- our own servers ------------------------------------------------------------------------------------------


def own_processes(
    what: Model, model: str, revision: str | None, engine: Engine, machine: Machine
) -> list[ServerProcess]:
    """The server processes of one model, not started yet.

    Raises:
        UserError: vLLM is not installed where the machine says, or there are fewer GPUs than asked for.
    """
    if not machine.python.exists():
        raise UserError(
            f"{machine.python}: not there, so engine 'vllm' can't start servers; run make vllm, set RSTAR_VLLM_PYTHON, "
            "or name running servers in RSTAR_VLLM_POLICY_URLS and RSTAR_VLLM_PPM_URLS"
        )
    pinned = () if revision is None else ("--revision", revision)
    first = 0 if what == "policy" else machine.policy.num_replicas
    return [
        ServerProcess(
            f"{what}-{number}",
            [*_command(what, model, engine, machine, place), *pinned, *machine.role(what).args],
            _environment(machine, place, first + number),
            None if machine.port is None else machine.port + first + number,
        )
        for number, place in enumerate(places(machine, what))
    ]


_BATCHED_TOKENS = 8192  # read in one forward pass; RSTAR_VLLM_POLICY_ARGS and _PPM_ARGS have the last word


def _command(what: Model, model: str, engine: Engine, machine: Machine, place: Place) -> list[str]:
    common = [str(machine.python), "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    common += ["--served-model-name", model, "--dtype", engine.dtype, "--enable-prefix-caching"]
    common += ["--max-num-batched-tokens", str(_BATCHED_TOKENS), "--disable-uvicorn-access-log"]
    if what == "ppm":
        common += ["--runner", "pooling"]
    if place.memory is not None:
        common += ["--gpu-memory-utilization", str(place.memory)]
    if machine.role(what).tensor_parallel > 1:
        common += ["--tensor-parallel-size", str(machine.role(what).tensor_parallel)]
    # On CPUs a seeded sample crashes the server when its prompt is read in chunks.
    cpu = ["--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill"]
    return common + cpu if machine.is_cpu_build else common


def _environment(machine: Machine, place: Place, number: int) -> dict[str, str]:
    """Of server ``number`` of all, at ``place``."""
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if place.devices:
        quiet["CUDA_VISIBLE_DEVICES"] = ",".join(place.devices)
    if not machine.is_cpu_build:
        return quiet
    processors = sorted(os.sched_getaffinity(0))
    cpu = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": str(processors[number % len(processors)])}
    return {**quiet, **{name: os.environ.get(name, value) for name, value in cpu.items()}}
