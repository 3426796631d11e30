"""dvc.yaml is written by hand; these make it safe: it says of each stage exactly what the stage's function says."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo

from tasks.runner.stages import flags_of, load_stage, sections_of
from tasks.runner.timings import FIRST_ROUND
from tests.contract.imports import ROOT, code_dependencies

CODE = ("tasks", "rstar_core")


@dataclass(frozen=True)
class Entry:
    """One resolved stage of dvc.yaml; paths are relative to the root."""

    name: str
    words: tuple[str, ...]
    deps: frozenset[str]
    outs: frozenset[str]
    params: frozenset[str]

    @property
    def function(self) -> Any:
        return load_stage(self.words[4])

    @property
    def flags(self) -> dict[str, str]:
        names = (word.removeprefix("--").replace("-", "_") for word in self.words[5::2])
        return dict(zip(names, self.words[6::2], strict=True))

    @property
    def code(self) -> set[str]:
        return {path for path in self.deps if Path(path).parts[0] in CODE}


def entry(stage: Any) -> Entry:
    def names(paths: Any) -> frozenset[str]:
        return frozenset(Path(item.fs_path).relative_to(ROOT).as_posix() for item in paths)

    params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    files = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    keys = frozenset(key for dep in params for key in dep.params)
    return Entry(stage.addressing, tuple(shlex.split(stage.cmd)), names(files), names(stage.outs), keys)


with Repo(str(ROOT)) as repository:
    ENTRIES = [entry(stage) for stage in repository.index.stages]

each_stage = pytest.mark.parametrize("stage", ENTRIES, ids=lambda stage: stage.name)


@each_stage
def test_the_command_names_a_stage_function_and_exactly_its_flags(stage: Entry) -> None:
    assert stage.words[:4] == ("exec", "python", "-m", "tasks")
    flags = flags_of(stage.function)
    required = {name for name, is_required in flags.items() if is_required} | {"metrics"}
    assert required <= set(stage.flags), "a required flag is missing"
    assert set(stage.flags) <= {*flags, "metrics"}, "a flag that the function does not have"


@each_stage
def test_every_path_in_the_command_is_tracked_and_every_tracked_path_is_in_the_command(stage: Entry) -> None:
    paths = {value for name, value in stage.flags.items() if name != "round_id"}
    assert paths == (stage.deps - stage.code) | stage.outs


@each_stage
def test_the_tracked_params_are_the_sections_in_the_signature(stage: Entry) -> None:
    sections = set(sections_of(stage.function).values())
    round_id = stage.flags.get("round_id")
    by_round = {f"rounds.{round_id}"} if "rounds" in sections and round_id != FIRST_ROUND else set()
    assert stage.params == (sections - {"rounds"}) | by_round


@each_stage
def test_code_dependencies_are_what_the_stage_imports_and_nothing_else(stage: Entry) -> None:
    load_stage(stage.words[4])
    needed = code_dependencies(stage.words[4])
    assert stage.code == needed, (
        f"write in dvc.yaml what this prints: python -m tests.contract.imports {stage.words[4]}"
    )


@each_stage
def test_metrics_are_outputs(stage: Entry) -> None:
    assert stage.flags["metrics"] in stage.outs


def test_only_the_evaluation_and_the_pages_read_the_oracle() -> None:
    """What the generator knows of the true steps judges the training; it must never be part of it."""
    readers = {
        entry.name.partition("@")[0] for entry in ENTRIES if any("oracle.parquet" in path for path in entry.deps)
    }
    assert readers == {"evaluate", "evaluate_r0", "summarize"}, "the last for its pages alone"
    assert not [path for entry in ENTRIES for path in entry.deps if path.endswith("/pages")], "which nobody reads"
    importers = {path.name for path in (ROOT / "tasks").glob("*.py") if "read_true_states" in path.read_text()}
    assert importers == {"evaluate.py"}
