"""Who may import whom, who may load what is heavy, and which names are banned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.imports import ROOT, files_of, has_code, imported_names, module_name, project_files

# A module may import what stands on its own line or above.
LAYERS = (
    (
        "rstar_core.types",
        "rstar_core.errors",
        "rstar_core.machine",
        "rstar_core.progress",
        "rstar_core.seeds",
    ),
    (
        "rstar_core.config",
        "rstar_core.io",
        "rstar_core.store",
        "rstar_core.shards",
        "rstar_core.metrics",
        "rstar_core.journal",
    ),
    (
        "rstar_core.cot",
        "rstar_core.sandbox",
        "rstar_core.answers",
        "rstar_core.problems",
        "rstar_core.engines.base",
        "rstar_core.engines.scripted",
    ),
    ("rstar_core.mcts",),
    ("rstar_core.curation",),
    ("rstar_core.policy", "rstar_core.ppm"),
    ("rstar_core.training",),
    ("rstar_core.engines",),
    ("rstar_core.evaluation",),
    ("rstar_core.reports",),
    ("tasks",),
    ("flows",),
)
MODELS = ("rstar_core.engines", "rstar_core.policy", "rstar_core.ppm", "rstar_core.training")
HOMES = {
    "torch": MODELS,
    "transformers": (*MODELS, "rstar_core.progress"),  # progress makes a callback for their trainers
    "trl": ("rstar_core.training",),
    "peft": ("rstar_core.training",),
    "mlflow": ("tasks.runner.tracking", "flows.guarded"),  # the second puts a guard before its server
    "prefect": ("flows",),
    "ray": ("tasks.runner.cluster", "tasks.runner.crew"),
}
# A package's own file is empty: what counts is each of its modules.
LIGHT = (
    *sorted(module_name(file) for file in (ROOT / "rstar_core" / "mcts").glob("[a-z]*.py")),
    *("flows.evolve", "tasks.runner.stages", "tasks.runner.tracking"),
)

each_file = pytest.mark.parametrize("file", project_files(), ids=module_name)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer(module: str) -> int:
    """The lowest layer with the longest matching name."""
    matches = [(len(name), rank) for rank, names in enumerate(LAYERS) for name in names if is_within(module, name)]
    assert matches, f"{module} has no place in LAYERS"
    return max(matches)[1]


@each_file
def test_imports_go_down(file: Path) -> None:
    module = module_name(file)
    if module == "rstar_core":
        return
    imported = {module_name(found) for name in imported_names(file) for found in files_of(name)}
    upwards = {name for name in imported - {"rstar_core"} if layer(name) > layer(module)}
    # An empty package initialiser runs on the way to a lower module; that is no dependency on the package.
    upwards -= {name for name in upwards if is_empty_package(name)}
    assert not upwards


def is_empty_package(module: str) -> bool:
    initialiser = ROOT.joinpath(*module.split("."), "__init__.py")
    return initialiser.exists() and not has_code(initialiser)


@each_file
def test_heavy_libraries_stay_in_their_homes(file: Path) -> None:
    module = module_name(file)
    libraries = {name.partition(".")[0] for name in imported_names(file)}
    strays = {name for name in libraries & HOMES.keys() if not any(is_within(module, home) for home in HOMES[name])}
    assert not strays


@pytest.mark.parametrize("module", LIGHT)
def test_what_must_load_fast_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "trl", "mlflow"} & set(done.stdout.split())


@each_file
def test_no_file_is_named_for_nothing(file: Path) -> None:
    assert not {"utils", "util", "helper", "helpers", "manager", "common", "misc"} & set(file.stem.split("_"))
