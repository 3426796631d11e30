"""The sandbox that this machine gives."""

from __future__ import annotations

import sys

from rstar_core.config import SandboxLimits
from rstar_core.errors import UserError
from rstar_core.machine import variables
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.sandbox.container import ContainerSandbox
from rstar_core.sandbox.snapshots import SnapshotBudget
from rstar_core.sandbox.tiers import TieredSandbox


def open_sandbox(
    limits: SandboxLimits, num_servers: int | None = None, budget: SnapshotBudget | None = None
) -> TieredSandbox | ContainerSandbox:
    """An async context manager and a ``Sandbox``: fork servers on Linux, or the container command, if one is named.

    Raises:
        UserError: neither is to be had.
    """
    if command := variables.SANDBOX_COMMAND.get():
        return ContainerSandbox(limits, command)
    if sys.platform != "linux":
        raise UserError(
            f"sandbox: it needs Linux; elsewhere set {variables.SANDBOX_COMMAND.name} to a command that runs Python in "
            "a container, as 'docker run --rm -i --init --network none IMAGE python3'"
        )
    return TieredSandbox(
        ForkSandbox(limits, num_servers, budget, libraries=()), ForkSandbox(limits, num_servers, budget)
    )
