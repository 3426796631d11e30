"""The engines of a round, from its folders and params."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from rstar_core.config import Engine
from rstar_core.engines.base import Models
from rstar_core.engines.local.models import load_local
from rstar_core.engines.scripted import ScriptedModels
from rstar_core.ppm.model import is_null_ppm


def load_policy(folder: Path, engine: Engine) -> Models:
    """The models of a round, beginning with the policy of its folder.

    Raises:
        UserError: there is no policy, or none that this engine can sample from.
    """
    match engine.kind:
        case "local":
            return load_local(folder, engine)
        case "vllm":
            from rstar_core.engines.served.machine import read_machine
            from rstar_core.engines.served.vllm import VllmModels

            return VllmModels(folder, engine, read_machine())
        case "scripted":
            return ScriptedModels()
        case _:
            assert_never(engine.kind)


def has_ppm(folder: Path) -> bool:
    return not is_null_ppm(folder)
