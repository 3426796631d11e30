"""Every variable of the environment that is ours: what this machine has, and where things lie.

None of them changes a result: what does stands in params.yaml. What each is for: docs/operations.md.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, Generic, TypeVar

from rstar_core.errors import UserError

PREFIX = "RSTAR_"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Variable(Generic[Value]):
    """``parse`` raises ValueError with what the text must be; where there is no text, the value is ``default``."""

    name: str
    default: Value
    parse: Callable[[str], Value]

    def get(self) -> Value:
        """Raises UserError where its text makes no sense."""
        text = os.environ.get(self.name, "").strip()
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            raise UserError(f"{self.name}: must be {error}, not '{text}'") from None


def check() -> None:
    """Raises UserError where a variable makes no sense, or is so close to one of ours that its name must be a slip."""
    for variable in ALL:
        variable.get()
    names = [variable.name for variable in ALL]
    for name in os.environ:
        if name.startswith(PREFIX) and name not in names and (close := get_close_matches(name, names, 1, 0.85)):
            raise UserError(f"{name}: there is no such variable; did you mean {close[0]}?")


def count(text: str) -> int:
    return _at_least(1, text, "a positive whole number")


def whole(text: str) -> int:
    return _at_least(0, text, "a whole number")


def _at_least(least: int, text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ValueError(what)
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value >= 0):
        raise ValueError("a number of seconds")
    return value


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError("a port number")
    return int(text)


def flag(text: str) -> bool:
    """1 says yes; everything else no, so that nobody says yes by mistake."""
    return text == "1"


def listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def addresses(text: str) -> tuple[str, ...]:
    urls = tuple(url.rstrip("/") for url in listed(text))
    if not all(url.startswith(("http://", "https://")) for url in urls):
        raise ValueError("addresses such as http://127.0.0.1:8000")
    return urls


def words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ValueError("words as in a shell, with each quote closed") from None


JOURNAL = Variable("RSTAR_JOURNAL", "journal", str)
CHECKPOINT_SECONDS = Variable("RSTAR_CHECKPOINT_S", 60.0, seconds)
TRAINER: Variable[tuple[str, ...]] = Variable("RSTAR_TRAINER", (), words)
MICRO_BATCH: Variable[int | None] = Variable("RSTAR_MICRO_BATCH", None, count)
ACTIVATION_CHECKPOINTING = Variable("RSTAR_ACTIVATION_CHECKPOINTING", False, flag)
MIN_FREE_MIB = Variable("RSTAR_MIN_FREE_MIB", 256, whole)
RELEASE = Variable("RSTAR_RELEASE", "", str)

STAGES: Variable[int | None] = Variable("RSTAR_STAGES", None, count)
SEARCH_PROCESSES = Variable("RSTAR_SEARCH_PROCESSES", min(2, os.cpu_count() or 1), count)
RAY_ADDRESS = Variable("RSTAR_RAY_ADDRESS", "", str)
CONCURRENT_TREES: Variable[int | None] = Variable("RSTAR_CONCURRENT_TREES", None, count)
BATCH_MIB = Variable("RSTAR_BATCH_MIB", 128, count)
KV_CACHE_MIB = Variable("RSTAR_KV_CACHE_MIB", 128, count)

SANDBOX_SERVERS = Variable("RSTAR_SANDBOX_SERVERS", os.cpu_count() or 1, count)
SANDBOX_SNAPSHOTS = Variable("RSTAR_SANDBOX_SNAPSHOTS", 128, whole)
SANDBOX_SNAPSHOT_MIB = Variable("RSTAR_SANDBOX_SNAPSHOT_MIB", 1024, whole)
SANDBOX_COMMAND: Variable[tuple[str, ...]] = Variable("RSTAR_SANDBOX_COMMAND", (), words)
SANDBOX_ALLOW_WEAK = Variable("RSTAR_SANDBOX_ALLOW_WEAK", False, flag)

VLLM_PYTHON = Variable("RSTAR_VLLM_PYTHON", Path(".venv-vllm/bin/python"), Path)
VLLM_POLICY_URLS: Variable[tuple[str, ...]] = Variable("RSTAR_VLLM_POLICY_URLS", (), addresses)
VLLM_PPM_URLS: Variable[tuple[str, ...]] = Variable("RSTAR_VLLM_PPM_URLS", (), addresses)
VLLM_POLICY_REPLICAS = Variable("RSTAR_VLLM_POLICY_REPLICAS", 1, count)
VLLM_PPM_REPLICAS = Variable("RSTAR_VLLM_PPM_REPLICAS", 1, count)
VLLM_POLICY_TENSOR_PARALLEL = Variable("RSTAR_VLLM_POLICY_TENSOR_PARALLEL", 1, count)
VLLM_PPM_TENSOR_PARALLEL = Variable("RSTAR_VLLM_PPM_TENSOR_PARALLEL", 1, count)
VLLM_DEVICES: Variable[tuple[str, ...]] = Variable("RSTAR_VLLM_DEVICES", (), listed)
VLLM_PORT: Variable[int | None] = Variable("RSTAR_VLLM_PORT", None, port)
VLLM_POLICY_ARGS: Variable[tuple[str, ...]] = Variable("RSTAR_VLLM_POLICY_ARGS", (), words)
VLLM_PPM_ARGS: Variable[tuple[str, ...]] = Variable("RSTAR_VLLM_PPM_ARGS", (), words)
VLLM_SILENCE_SECONDS = Variable("RSTAR_VLLM_SILENCE_S", 120, count)
VLLM_PATIENCE_SECONDS = Variable("RSTAR_VLLM_PATIENCE_S", 600, count)

PREFECT_PORT = Variable("RSTAR_PREFECT_PORT", 4200, port)
MLFLOW_PORT = Variable("RSTAR_MLFLOW_PORT", 5000, port)
SERVER_NAMES: Variable[tuple[str, ...]] = Variable("RSTAR_SERVER_NAMES", (), listed)
EXPERIMENT = Variable("RSTAR_EXPERIMENT", "rstar-math", str)

# Set by us, for processes that we start.
MLFLOW_RUN_ID = Variable("RSTAR_MLFLOW_RUN_ID", "", str)  # the run of the round that the flow brings up to date
MLFLOW_URL = Variable("RSTAR_MLFLOW_URL", "", str)  # the server of `make ui`, for links
WARM_SOCKET = Variable("RSTAR_WARM_SOCKET", "", str)  # of the process whose copies stages are
ROOT = Variable("RSTAR_ROOT", "", str)  # the project's folder, for the deployments' worker

ALL: tuple[Variable[Any], ...] = tuple(one for one in globals().values() if isinstance(one, Variable))
