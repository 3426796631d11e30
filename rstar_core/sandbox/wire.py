"""Messages between the broker and a child: a four-byte length, then JSON. Never pickle, never markers in text.

Standard library only: the zygote loads this file too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from rstar_core.sandbox.base import Raised

HEADER = struct.Struct(">I")
CUT_MARK = "\n[output cut]"
MAX_ERROR_CHARS = 300  # of type and message together
MAX_LINE = 2**31


@dataclass(frozen=True, slots=True)
class Reply:
    """``raised`` is None where the step went through."""

    stdout: str
    raised: Raised | None


def frame(payload: bytes) -> bytes:
    return HEADER.pack(len(payload)) + payload


def encode_steps(codes: Sequence[str]) -> bytes:
    """One request to run each of the steps, in order; each is answered by a reply of its own."""
    return b"".join(frame(json.dumps(["run", code]).encode()) for code in codes)


def encode_plain(parents: Sequence[str], code: str) -> bytes:
    """One request to run ``code`` after ``parents``, and after nothing else that the process has run.

    The reply is ``NOT_PLAIN`` where they are not plain (``plain.py``) or a parent fails.
    """
    return frame(json.dumps(["plain", parents, code]).encode())


NOT_PLAIN = frame(b"null")
BRANCH_REQUEST = frame(b'["branch"]')  # with the new child's end of its channel attached
HELLO, CLOSED = b"h", b"c"  # a child's first byte; a parent's word that it closed its copy of that end


def max_reply_bytes(max_output_chars: int) -> int:
    """No honest reply is longer: JSON spends at most twelve bytes on a character."""
    return 12 * (max_output_chars + len(CUT_MARK) + MAX_ERROR_CHARS) + 1024


def encode_reply(stdout: str, raised: Raised | None) -> dict[str, object]:
    """The reply as plain JSON; the child makes it text by a function that it bound before the code came."""
    error = None if raised is None else {"type": raised.type, "message": raised.message, "line": raised.line}
    return {"stdout": stdout, "error": error}


def decode_reply(payload: bytes, max_output_chars: int) -> Reply | None:
    """The reply, or None if ``payload`` is not exactly one: the child's bytes are not to be trusted.

    Lone surrogates become question marks, so that the texts can be stored as UTF-8.
    """
    try:
        match json.loads(payload):
            case {"stdout": str(stdout), "error": error, **rest} if not rest:
                pass
            case _:
                return None
        raised = None if error is None else _decoded(error)
    except (ValueError, RecursionError):
        return None
    return Reply(_storable(stdout), raised) if len(stdout) <= max_output_chars + len(CUT_MARK) else None


def _decoded(error: object) -> Raised:
    match error:
        case {"type": str(kind), "message": str(message), "line": int(line), **rest} if not rest:
            if kind and len(kind) + len(message) <= MAX_ERROR_CHARS and 0 <= line <= MAX_LINE:
                return Raised(_storable(kind), _storable(message), int(line))
    raise ValueError("no error")


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
