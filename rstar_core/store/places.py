"""A folder or a prefix of an object store, for whole files by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rstar_core.store.objects import create_object, exclusive_store, is_address, open_store
from rstar_core.store.publishing import publish


class Folder:
    """Files of a local folder, which is made with the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, data: bytes) -> None:
        with publish(self._folder / name) as handle:
            handle.write(data)

    def create(self, name: str, data: bytes) -> None:
        """Whole, and only if there is none: written aside, then linked, which never replaces."""
        aside = self._folder / f".{name}.{os.getpid()}"
        with publish(aside) as handle:
            handle.write(data)
        try:
            os.link(aside, self._folder / name)
        finally:
            aside.unlink()

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()


class Bucket:
    """Objects under a prefix; each is one PUT."""

    def __init__(self, files: Any, root: str) -> None:
        self._files, self._root = files, root

    def write(self, name: str, data: bytes) -> None:
        self._files.pipe_file(f"{self._root}/{name}", data)

    def create(self, name: str, data: bytes) -> None:
        create_object(self._files, f"{self._root}/{name}", data)

    def read(self, name: str) -> bytes:
        data: bytes = self._files.cat_file(f"{self._root}/{name}")
        return data


def place_of(place: Path | str, *, is_exclusive: bool = False) -> Folder | Bucket:
    """The folder or prefix. ``is_exclusive``: for ``create``, of which a store must be capable.

    Raises:
        UserError: it is not.
    """
    if not is_address(place):
        return Folder(Path(place))
    return Bucket(*(exclusive_store(str(place)) if is_exclusive else open_store(str(place))))
