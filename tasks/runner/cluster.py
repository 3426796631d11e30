"""A Ray cluster (``RSTAR_RAY_ADDRESS``): the way to it, and calls of a function by whatever cores of it are free."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.errors import UserError
from rstar_core.machine import variables

ROOT = Path(__file__).parents[2]
CODE = ("rstar_core", "tasks")
PATIENCE_SECONDS = 120.0  # without any node
_REACH_SECONDS = 10.0
_MAX_LOST = 10  # times that a node is lost over the same call


@contextmanager
def connected() -> Iterator[Any]:
    """Ray, with our code and settings on every node, until the block ends.

    Raises:
        UserError: there is no Ray, or no cluster.
    """
    try:
        import ray
    except ImportError:
        raise UserError("RSTAR_RAY_ADDRESS is set, but Ray is not installed; run: make ray") from None
    address = variables.RAY_ADDRESS.get()
    _check(address)
    own = {name: value for name, value in os.environ.items() if name.startswith(variables.PREFIX)}
    own.pop(variables.RAY_ADDRESS.name, None)
    runtime = {"py_modules": [str(ROOT / name) for name in CODE], "env_vars": own}
    try:
        ray.init(address=address, runtime_env=runtime, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, " ".join(str(error).split())[:200]) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Ray itself asks an address where nobody is for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:  # auto
        return
    try:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, said: str) -> UserError:
    return UserError(f"RSTAR_RAY_ADDRESS: no cluster at '{address}' ({said}); start one: ray start --head")


@contextmanager
def spread(function: Callable[..., Any]) -> Iterator[Spread]:
    """Calls of ``function`` by whatever cores of the cluster are free.

    Raises:
        UserError: see ``connected``.
    """
    with connected() as ray:
        options = {"num_cpus": 1, "scheduling_strategy": "SPREAD", "max_retries": _MAX_LOST}
        yield Spread(ray, ray.remote(function).options(**options))


@dataclass(frozen=True, slots=True)
class Spread:
    """A function on a cluster. Ray calls it again elsewhere where a node dies, and uses nodes that join."""

    ray: Any
    function: Any

    @property
    def num_cores(self) -> int:
        """Now."""
        return int(self.ray.cluster_resources().get("CPU", 0))

    async def call(self, *arguments: Any) -> Any:
        """What the function returns.

        Raises:
            UserError: what it cannot mend, or there is no node.
        """
        asked = asyncio.wrap_future(self.function.remote(*arguments).future())
        while not asked.done():
            await asyncio.wait([asked], timeout=PATIENCE_SECONDS)
            if not asked.done() and not self.num_cores:
                raise UserError(f"no node of the Ray cluster for {PATIENCE_SECONDS:.0f} s")
        try:
            return asked.result()
        except self.ray.exceptions.RayTaskError as error:
            raise cause(error) from None


def cause(error: Any) -> Exception:
    """Of what broke on a node: what it says to users, or all of it."""
    return error.cause if isinstance(error.cause, UserError) else error
