"""The GPUs of this machine, without loading a library that uses them."""

from __future__ import annotations

import os
from pathlib import Path

from rstar_core.machine.variables import listed

_DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each


def gpus_here() -> tuple[str, ...]:
    """By number, as far as processes here may see them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return listed(visible)
    return tuple(str(number) for number, _ in enumerate(_DRIVER.iterdir() if _DRIVER.is_dir() else ()))
