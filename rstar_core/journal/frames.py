"""Records on disk: frames ``crc32 length key value`` one after the other.

The key is a line of JSON, the value JSON in zlib's format: a tree's text says the same again and again. The checksum
covers the length too, so neither zeros nor a length that has changed pass for a frame.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

_HEADER = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
_LEVEL = 1  # zlib's fastest; a search's threads do this beside it


class BadFrame(ValueError):
    """The bytes are no frame."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies in its file."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


def frame(key: str, value: Any) -> bytes:
    """``value`` (plain JSON) under ``key`` as one frame."""
    packed = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), _LEVEL)
    payload = json.dumps(key).encode() + b"\n" + packed
    length = _LENGTH.pack(len(payload))
    return struct.pack("<I", zlib.crc32(payload, zlib.crc32(length))) + length + payload


def unframe(data: bytes) -> tuple[str, Any]:
    """Key and value of exactly one frame.

    Raises:
        BadFrame: it is torn or altered.
    """
    key, _, packed = _payload(data).partition(b"\n")
    return json.loads(key), json.loads(zlib.decompress(packed))


def key_of(data: bytes) -> str:
    """The key alone; the value stays packed."""
    key, _, _ = _payload(data).partition(b"\n")
    return str(json.loads(key))


def scan(file: IO[bytes], start: int) -> Iterator[tuple[str, Place]]:
    """Key and place of each frame from ``start`` to the first that is torn or altered.

    Only one frame is in memory at a time.
    """
    position = start
    file.seek(start)
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            return
        _, length = _HEADER.unpack(header)
        data = header + file.read(length)
        try:
            key = key_of(data)
        except BadFrame:
            return
        place = Place(position, len(data))
        yield key, place
        position = place.end


def is_torn(file: IO[bytes], start: int, size: int) -> bool:
    """Whether what follows ``start`` looks like an append that was cut short: an unfinished frame, or zeros."""
    file.seek(start)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or start + _HEADER.size + _HEADER.unpack(header)[1] > size:
        return True
    file.seek(start)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            return False
    return True


def _payload(data: bytes) -> bytes:
    if len(data) < _HEADER.size:
        raise BadFrame("torn header")
    checksum, length = _HEADER.unpack_from(data)
    payload = data[_HEADER.size :]
    if len(payload) != length or zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))) != checksum:
        raise BadFrame("torn or altered")
    return payload
