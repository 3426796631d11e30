"""Frames over a child's channel. The child is untrusted from the moment it has read its first step."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from rstar_core.sandbox.wire import HEADER


def send(channel: socket.socket, data: bytes) -> asyncio.Task[None] | None:
    """Send ``data``; what the kernel's buffer does not take at once goes in a task, so that replies can be read."""
    sent = 0
    with suppress(OSError):
        sent = channel.send(data)
    return asyncio.create_task(_send_rest(channel, data[sent:])) if sent < len(data) else None


async def _send_rest(channel: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(channel, data)


async def receive_frame(channel: socket.socket, max_bytes: int) -> bytes:
    """The child's next frame, header included.

    Empty: the child closed its end without a word. What is longer than ``max_bytes`` or breaks off comes back as far
    as it was read, and will not decode.
    """
    header = await _receive(channel, HEADER.size)
    if len(header) < HEADER.size:
        return header
    (length,) = HEADER.unpack(header)
    return header if length > max_bytes else header + await _receive(channel, length)


async def _receive(channel: socket.socket, count: int) -> bytes:
    """``count`` bytes, or fewer if the other end closes."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    with suppress(OSError):
        while len(data) < count:
            part = await loop.sock_recv(channel, count - len(data))
            if not part:
                break
            data += part
    return bytes(data)
