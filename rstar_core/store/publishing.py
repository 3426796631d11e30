"""Whole or not at all: how files, folders and objects come to be where others look for them.

A file's existence means that it is complete: it is written under a temporary name beside its place, synced, and
renamed. On an object store it is one PUT.
"""

from __future__ import annotations

import glob
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def publish(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Write a local file so that it appears whole or not at all; parents are made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary = target.with_name(f".{target.name}.{_writer()}.tmp")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: Path | str) -> Iterator[Path]:
    """A new empty folder to fill, which takes ``path``'s place whole when the block ends, or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary, replaced = (target.with_name(f".{target.name}.{_writer()}.{end}") for end in ("tmp", "old"))
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        if target.exists():
            target.rename(replaced)  # a folder can't be renamed onto one that has files
        temporary.rename(target)
        sync_folder(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _writer() -> int:
    """This thread's id in the kernel: two threads of a process that publish one name do not share a temporary one."""
    return threading.get_native_id()


def _sweep(target: Path) -> None:
    """Remove what killed writers of ``target`` have left beside it."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
        writer, _, end = left.name.removeprefix(f".{target.name}.").partition(".")
        if end in ("tmp", "old") and writer.isdecimal() and not _is_anothers(int(writer)):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def _is_anothers(writer: int) -> bool:
    """Whether another thread of that id lives on this machine."""
    try:
        os.kill(writer, 0)  # Linux finds threads by it, too
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return writer != _writer()


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
