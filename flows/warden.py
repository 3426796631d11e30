"""``python -m flows.warden <module> args``: ``python -m <module> args``, whose whole group ends with our parent.

A server may have started others, which a signal to itself alone would leave behind, with its port. The process must
lead its group (``start_new_session``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from rstar_core.machine.parent_death import die_with_parent

_PATIENCE_SECONDS = 6


def main() -> int:
    signal.signal(signal.SIGTERM, _end_group)
    die_with_parent(signal.SIGTERM)
    child = subprocess.Popen([sys.executable, "-m", "flows.mortal", *sys.argv[1:]])
    return child.wait()


def _end_group(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    signal.alarm(_PATIENCE_SECONDS)
    with suppress(ChildProcessError):
        os.wait()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
