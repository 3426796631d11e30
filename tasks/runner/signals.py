"""How a process ends that is asked to: in time, with everything kept, and with a line that says how to go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

SECONDS = 5.0  # then it ends without the rest of its cleaning up; a service manager waits 10 s
_received: list[int] = []


def end_in_time(how_to_continue: str) -> None:
    """From now on SIGTERM ends the process as Ctrl-C does, and either of them within ``SECONDS``.

    What is finished is on disk already, and what the process has started dies with it: haste loses nothing.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        timer = threading.Timer(SECONDS, leave)
        timer.daemon = True
        timer.start()
        signal.default_int_handler(number, frame)

    def leave() -> None:
        code = say_ended(how_to_continue)
        sys.stderr.flush()
        os._exit(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)


def say_ended(how_to_continue: str) -> int:
    """Say on stderr that the process was asked to end; its exit code."""
    number = _received[0] if _received else signal.SIGINT
    print(f"ended by {signal.Signals(number).name}; {how_to_continue}", file=sys.stderr)
    return 128 + number
