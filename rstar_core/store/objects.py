"""Objects under an address such as s3://bucket/prefix: who may put them, and what a store says when it can't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec

from rstar_core.errors import UserError


def is_address(place: Path | str) -> bool:
    """Whether it names an object store, and no file or folder."""
    return "://" in str(place)


@contextmanager
def told(address: str) -> Iterator[None]:
    """Whatever a store breaks with becomes one line: boto raises kinds of its own for credentials, names, networks."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{address}: can't be used ({why}); mend the address or the AWS_ settings") from None


def open_store(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path there. Nothing is asked of the store yet."""
    files, path = fsspec.core.url_to_fs(address)
    return files, str(path)


def exclusive_store(address: str) -> tuple[Any, str]:
    """As ``open_store``, after a look whether the store creates exclusively.

    Raises:
        UserError: it can't be reached, or does not honour ``If-None-Match``: then two writers would both win.
    """
    with told(address):
        files, path = open_store(address)
        probe = f"{path}/.probe-{uuid4().hex}"
        is_exclusive = False
        create_object(files, probe, b"")
        try:
            create_object(files, probe, b"")
        except FileExistsError:
            is_exclusive = True
        files.rm_file(probe)
    if not is_exclusive:
        raise UserError(f"{address}: this store ignores If-None-Match: two workers could undo each other; use another")
    return files, path


def create_object(files: Any, path: str, data: bytes) -> None:
    """One PUT that the store refuses where there is an object already.

    Raises:
        FileExistsError: there is.
    """
    try:
        files.pipe_file(path, data, mode="create")
    except FileExistsError:
        raise
    except OSError as error:  # stores that do not say which condition failed
        code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")
        if code not in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
            raise
        raise FileExistsError(path) from None
