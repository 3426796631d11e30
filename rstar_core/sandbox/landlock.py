"""Landlock: from here on, read some paths and no other file. Needs no privilege."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # one number on every architecture
QUERY_VERSION, RULE_PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
NUM_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # by version; 16 since version 5
ALL_TCP = 0b11  # bind, connect
ALL_SCOPES = 0b11  # abstract sockets and signals to the outside


class Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scopes", ctypes.c_uint64)]


class PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def restrict_files(libc: ctypes.CDLL, paths: Iterable[str], listed: str) -> bool:
    """Apply it to this process and all it forks; False where the kernel has no Landlock. Needs no_new_privs.

    Below ``listed``, names may be read as well: importing looks for modules among them.

    TCP, abstract sockets and signals to the outside go too, where the kernel's Landlock knows of them.
    """
    version = libc.syscall(CREATE_RULESET, None, 0, QUERY_VERSION)
    if version < 1:
        return False
    ruleset = _create_ruleset(libc, version)
    for path in paths:
        _allow(libc, ruleset, path, READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE)  # noqa: PTH112 - light
    _allow(libc, ruleset, listed, READ_DIR)
    is_applied: bool = libc.syscall(RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return is_applied


def _create_ruleset(libc: ctypes.CDLL, version: int) -> int:
    rules = Ruleset((1 << NUM_FILE_RIGHTS.get(version, 16)) - 1, ALL_TCP, ALL_SCOPES)
    known_size = 8 if version < 4 else 16 if version < 6 else 24
    descriptor: int = libc.syscall(CREATE_RULESET, ctypes.byref(rules), known_size, 0)
    return descriptor


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(PathBeneath(rights, parent)), 0)
    os.close(parent)
