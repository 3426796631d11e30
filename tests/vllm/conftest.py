"""Real vLLM servers on this machine's processors, with a small policy that is trained first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rstar_core.config import Engine, Params, load_params
from rstar_core.engines.served.machine import Machine, Role, read_machine
from rstar_core.engines.served.vllm import VllmModels
from rstar_core.io import read_problems
from rstar_core.policy.model import load_tokenizer
from rstar_core.ppm.model import new_ppm, save_ppm
from rstar_core.types import Problem
from tasks.bootstrap import bootstrap
from tasks.ingest import ingest

ROOT = Path(__file__).parents[2]
ENGINE = Engine(kind="vllm", dtype="float32")
LOCAL = Engine(kind="local", dtype="float64")


@dataclass(frozen=True)
class World:
    """A trained policy, a PPM with that policy's body and a random head, and problems that neither has seen."""

    folder: Path
    params: Params
    problems: list[Problem]

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    @property
    def ppm(self) -> Path:
        return self.folder / "trained_ppm"

    def models(self, machine: Machine) -> VllmModels:
        return VllmModels(self.policy, ENGINE, machine)


@pytest.fixture(scope="session")
def machine() -> Machine:
    found = read_machine()
    python = found.python if found.python.is_absolute() else ROOT / found.python
    if not python.exists():
        pytest.skip(f"{python} is not there: make vllm")
    return replace(found, python=python)


@pytest.fixture(scope="session")
def world(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder, params = tmp_path_factory.mktemp("world"), load_params(ROOT / "infra/profiles/tiny.yaml")
    sources = [
        source.model_copy(update={"num_per_level": 40}) if source.split == "benchmark" else source
        for source in params.ingest.sources
    ]
    files = {name: folder / f"{name}.parquet" for name in ("demonstrations", "train", "benchmark")}
    beside = {name: folder / name for name in ("data", "oracle", "rejected", "report", "counts")}
    ingest(**files, **beside, ingest=params.ingest.model_copy(update={"sources": tuple(sources)}))
    made = {name: folder / name for name in ("base", "policy", "ppm", "sft", "pairs", "curve")}
    demonstrations = files["demonstrations"]
    bootstrap(
        **made, demonstrations=demonstrations, seed=params.seed, bootstrap=params.bootstrap, sandbox=params.sandbox
    )
    save_ppm(new_ppm(made["policy"], "float32", seed=3), load_tokenizer(made["policy"]), folder / "trained_ppm")
    return World(folder, params, read_problems(files["benchmark"]))


@pytest.fixture(scope="session")
def served(world: World, machine: Machine) -> Iterator[Machine]:
    """The machine with one server of each model running, started and stopped by the engine."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    models = world.models(machine)
    models.policy(0.0, 1.0, 48)
    models.guide("ppm", world.ppm)
    try:
        asyncio.run_coroutine_threadsafe(models.__aenter__(), loop).result()
        policy, ppm = ([server.url for server in replicas.servers] for replicas in models._all())
        yield replace(machine, policy=Role(tuple(policy)), ppm=Role(tuple(ppm)))
    finally:
        asyncio.run_coroutine_threadsafe(models.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
