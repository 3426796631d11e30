"""Which isolation is in force, and whether it is enough to run model-written code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache

from rstar_core.errors import UserError
from rstar_core.machine.variables import SANDBOX_ALLOW_WEAK

LAYERS = ("namespaces", "mounts", "own user", "landlock", "seccomp", "snapshots")


def describe(layers: Sequence[str]) -> str:
    """One line, e.g. ``namespaces, mounts, landlock, seccomp (without: own user, snapshots)``."""
    missing = [layer for layer in LAYERS if layer not in layers]
    return (", ".join(layers) or "nothing") + (f" (without: {', '.join(missing)})" if missing else "")


@cache
def say_once(description: str) -> None:
    """A process may open several sandboxes; what isolates them is told once."""
    print(f"sandbox: {description}", file=sys.stderr)


def is_enough(layers: Sequence[str]) -> bool:
    """Seccomp is a must, and files need a wall: own mounts or Landlock."""
    return "seccomp" in layers and ("mounts" in layers or "landlock" in layers)


def check_level(layers: Sequence[str]) -> None:
    """Refuse to go on below the level that is enough, unless the environment says otherwise.

    Raises:
        UserError: it is not enough.
    """
    if not is_enough(layers) and not SANDBOX_ALLOW_WEAK.get():
        raise UserError(
            f"sandbox: this machine grants only {describe(layers)}; needed are seccomp (x86-64) and one of mounts "
            f"(user namespaces) and landlock. {SANDBOX_ALLOW_WEAK.name}=1 runs model-written code nevertheless"
        )
