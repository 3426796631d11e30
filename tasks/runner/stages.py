"""A stage's signature is its command line: which stages exist, what each asks for, how a command fills it.

A stage is the function ``tasks.<stage>.<stage>``. Its keyword-only parameters are either *flags* (``Path``,
``Path | None`` or ``str``; ``round_id`` becomes ``--round-id``) or *sections*: config classes, which the runner
fills from ``params.yaml`` by type (``Round`` from ``rounds.<round_id>``, ``Seed`` from ``seed``).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import tasks
from rstar_core.config import Params, Round, Seed
from rstar_core.errors import UserError
from tasks.runner.timings import FIRST_ROUND

StageFunction = Callable[..., dict[str, Any]]

FLAG_TYPES: tuple[Any, ...] = (Path, Path | None, str)
SECTION_NAMES: dict[Any, str] = {
    **{field.annotation: name for name, field in Params.model_fields.items() if name not in ("seed", "rounds")},
    Seed: "seed",
    Round: "rounds",
    Round | None: "rounds",  # None for r0, which is no entry there
}


def stage_summaries() -> dict[str, str]:
    """Every stage's name and first docstring line, read without importing any of them."""
    found = {}
    for module in pkgutil.iter_modules(tasks.__path__):
        for function in _definitions(module.name):
            if function.name == module.name:
                found[module.name] = (ast.get_docstring(function) or "").partition("\n")[0]
    return found


def _definitions(name: str) -> list[ast.FunctionDef]:
    spec = importlib.util.find_spec(f"tasks.{name}")
    source = Path(str(spec.origin)).read_text(encoding="utf-8") if spec else ""
    return [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def load_stage(name: str) -> StageFunction:
    """The function of a stage.

    Raises:
        UserError: there is no such stage.
    """
    known = stage_summaries()
    if name not in known:
        raise UserError(f"'{name}' is not a stage; stages are: {', '.join(known)}")
    module: ModuleType = importlib.import_module(f"tasks.{name}")
    function: StageFunction = getattr(module, name)
    return function


def flags_of(function: StageFunction) -> dict[str, bool]:
    """Parameters that come from the command line, and whether each is required."""
    parameters = inspect.signature(function).parameters
    return {
        name: parameters[name].default is inspect.Parameter.empty
        for name, annotation in _annotations(function).items()
        if annotation in FLAG_TYPES
    }


def sections_of(function: StageFunction) -> dict[str, str]:
    """Parameters that come from ``params.yaml``, and the section that each is filled from."""
    return {
        name: SECTION_NAMES[annotation]
        for name, annotation in _annotations(function).items()
        if annotation not in FLAG_TYPES
    }


def _annotations(function: StageFunction) -> dict[str, Any]:
    hints = get_type_hints(function)
    hints.pop("return", None)
    for name, annotation in hints.items():
        if annotation not in FLAG_TYPES and annotation not in SECTION_NAMES:
            raise TypeError(f"{function.__name__}: parameter '{name}' is neither a path, a str nor a config section")
    return hints


def add_flags(parser: ArgumentParser, function: StageFunction) -> None:
    """Give ``parser`` one ``--flag`` per command-line parameter of the stage."""
    hints = _annotations(function)
    for name, is_required in flags_of(function).items():
        kind = str if hints[name] is str else Path
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, required=is_required, metavar=kind.__name__.upper())


def fill_sections(function: StageFunction, params: Params, round_id: str | None) -> dict[str, Any]:
    """The stage's config arguments, by parameter name."""
    hints = _annotations(function)
    return {
        name: None if hints[name] == Round | None and round_id == FIRST_ROUND else _section(section, params, round_id)
        for name, section in sections_of(function).items()
    }


def _section(section: str, params: Params, round_id: str | None) -> Any:
    value = getattr(params, section)
    if section != "rounds":
        return value
    return value[params.known_round(round_id)]


def tracked_keys(values: Mapping[str, Any], function: StageFunction, round_id: str | None) -> dict[str, Any]:
    """The stage's config arguments by dotted key of ``params.yaml``, as ``dvc.yaml`` names them."""
    sections = sections_of(function)
    return {
        f"rounds.{round_id}" if sections[name] == "rounds" else sections[name]: value
        for name, value in values.items()
        if value is not None
    }
