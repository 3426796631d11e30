"""How a library's idle threads wait for the next piece of work. It is read when torch is loaded, so it is said before.

OMP_WAIT_POLICY in the environment has the last word.
"""

from __future__ import annotations

import os

_VARIABLE = "OMP_WAIT_POLICY"


def keep_threads_awake() -> None:
    """They spin: pieces of a training follow each other within microseconds, and to wake a thread takes longer."""
    os.environ.setdefault(_VARIABLE, "ACTIVE")


def let_threads_sleep() -> None:
    """They sleep, and leave the cores to the programs and processes beside a search."""
    os.environ.setdefault(_VARIABLE, "PASSIVE")
