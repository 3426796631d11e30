"""A process that must not outlive the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys

_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be imported
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """On Linux, have the kernel send this process a signal when its parent is gone, even by ``kill -9``.

    What a run must not lose is synced as it is made, so there is nothing to clean up first.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))


def asked_to_end_with_parent() -> None:
    """``die_with_parent`` for a command that has children to end first; to be called between fork and exec."""
    die_with_parent(signal.SIGTERM)
