"""A process that must not outlive the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """On Linux, have the kernel send this process a signal when its parent is gone, even by ``kill -9``.

    What a run must not lose is synced as it is made, so there is nothing to clean up first.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(number))
