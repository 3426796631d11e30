"""Runs steps as parts of one script and says what each did. Standard library only: it runs beside untrusted code."""

from __future__ import annotations

import builtins
import io
import sys
import types
from functools import lru_cache

from rstar_core.sandbox.base import Raised
from rstar_core.sandbox.wire import CUT_MARK, MAX_ERROR_CHARS, encode_reply


class CappedOutput(io.TextIOBase):
    """Standard output in memory: keeps the first ``max_chars`` characters and marks a cut."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self.restart()

    def restart(self) -> None:
        """Forget everything so far."""
        self._parts: list[str] = []
        self._room = self._max_chars
        self._is_cut = False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if len(text) > self._room:
            self._is_cut = True
        if text and self._room:
            self._parts.append(text[: self._room])
            self._room -= len(self._parts[-1])
        return len(text)

    def text(self) -> str:
        return "".join(self._parts) + (CUT_MARK if self._is_cut else "")


class Interpreter:
    """Runs steps one after another as parts of one script; each reply holds its own step's output only."""

    def __init__(self, stdout: CappedOutput) -> None:
        self._stdout = sys.stdout = stdout
        sys.stderr = CappedOutput(0)
        self.restart()

    def restart(self) -> None:
        """Forget the names that the steps so far have bound."""
        self._main = sys.modules["__main__"] = types.ModuleType("__main__")
        self._main.__dict__["__builtins__"] = builtins

    def run(self, code: str) -> dict[str, object]:
        """The step's reply, see ``wire.encode_reply``."""
        stdout = self._stdout
        stdout.restart()
        try:
            _execute(_compiled(code), self._main)
        except BaseException as error:
            return encode_reply(stdout.text(), _described(error, sys.exc_info()[2]))
        return encode_reply(stdout.text(), None)


def _execute(code: types.CodeType, main: types.ModuleType) -> None:
    exec(code, main.__dict__)


@lru_cache(maxsize=256)  # the steps of a plain program are run again with each of their successors
def _compiled(source: str) -> types.CodeType:
    return compile(source, "<step>", "exec", dont_inherit=True)


def _described(error: BaseException, trace: types.TracebackType | None) -> Raised:
    """What was raised, in one short line. The message is the code's own doing, and may be anything."""
    try:
        message = " ".join(str(error)[:MAX_ERROR_CHARS].split())
    except BaseException:
        message = ""
    kind = type(error).__name__[:MAX_ERROR_CHARS] or "Exception"
    return Raised(kind, message[: max(MAX_ERROR_CHARS - len(kind) - 2, 0)], _line(error, trace))


def _line(error: BaseException, trace: types.TracebackType | None) -> int:
    """The line of the step's own frame, which is called by ``_execute``, which is called by ``run``."""
    called = trace.tb_next.tb_next if trace and trace.tb_next else None
    if called:
        return called.tb_lineno or 0
    line = error.lineno if isinstance(error, SyntaxError) else 0
    return line if type(line) is int and line > 0 else 0
