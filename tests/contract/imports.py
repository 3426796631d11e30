"""Which of the project's files a file imports, however deep and wherever in a function the import stands.

``python -m tests.contract.imports ingest`` prints the code dependencies that stage needs in dvc.yaml.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("rstar_core", "tasks", "flows")
# What a machine is like changes no result: what does stands in params.yaml.
MACHINE = ROOT / "rstar_core" / "machine"
# Folders whose files belong together: a stage that reaches one of them depends on all of them. (In the sandbox and in
# the grader one file also starts another by its name.) Of other folders it depends on the files that it reaches.
UNITS = tuple(
    f"rstar_core/{name}" for name in ("answers", "cot", "engines/local", "engines/served", "journal", "mcts", "sandbox")
)


@cache
def imported_names(file: Path) -> tuple[str, ...]:
    """Dotted names of every module that ``file`` imports, and of every name it takes from one."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}: relative import"
            found += (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    return tuple(found)


def files_of(name: str) -> Iterator[Path]:
    """The project files that importing the module ``name`` runs: its own and its packages' ``__init__``."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        base = ROOT.joinpath(*parts[:depth])
        for file in (base / "__init__.py", base.with_suffix(".py")):
            if file.is_file():
                yield file


def closure(file: Path) -> set[Path]:
    """``file`` and every project file that it reaches by imports; an empty ``__init__`` counts for nothing."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(path for name in imported_names(current) for path in files_of(name))
    return {path for path in found if has_code(path) and MACHINE not in path.parents}


def code_dependencies(stage: str) -> set[str]:
    """What dvc.yaml is to list for the stage's code, and nothing else: ``UNITS`` and files."""
    needed = {path.relative_to(ROOT).as_posix() for path in closure(ROOT / "tasks" / f"{stage}.py")}
    return {next((unit for unit in UNITS if path.startswith(f"{unit}/")), path) for path in needed}


@cache
def has_code(file: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text(encoding="utf-8")).body)


def project_files() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    for stage in sys.argv[1:]:
        print(
            *(
                f"        - {path}"
                for path in sorted(code_dependencies(stage), key=lambda path: (path[0] != "t", path))
            ),
            sep="\n",
        )
