"""What README and docs/ say can be used: links lead somewhere, YAML loads, commands exist, every variable is listed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml

from rstar_core.config import Params, load_params
from rstar_core.machine.variables import ALL
from tests.contract.imports import ROOT
from tests.contract.params_page import PAGE, page

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [file.name for file in PAGES]
_SET_BY_US = {"RSTAR_ROOT", "RSTAR_MLFLOW_URL", "RSTAR_MLFLOW_RUN_ID", "RSTAR_WARM_SOCKET", "RSTAR_VLLM_"}


def blocks(file: Path, *languages: str) -> Iterator[str]:
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```", file.read_text(encoding="utf-8"), re.M | re.S):
        if language in languages:
            yield text


def test_params_page_is_as_the_config_describes_it() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it: python -m tests.contract.params_page"


def test_every_key_is_described() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.rstrip().endswith("|  |")] == []


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("file", PAGES, ids=NAMES)
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", file.read_text(encoding="utf-8")):
        path, anchor = target
        page_ = (file.parent / path) if path else file
        assert page_.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page_.read_text(encoding="utf-8"), re.M)
            assert anchor[1:] in [heading.lower().replace(" ", "-") for heading in headings], target


@pytest.mark.parametrize("file", PAGES, ids=NAMES)
def test_yaml_is_what_dvc_and_the_config_read(file: Path) -> None:
    for text in blocks(file, "yaml"):
        for section, value in parse_yaml(text, str(file)).items():
            Params.model_validate({**_default(), **_fitting(section), section: _completed(section, value)})


def _default() -> dict[str, Any]:
    return load_params(ROOT / "params.yaml").model_dump(by_alias=True)


def _completed(section: str, value: Any) -> Any:
    """A part of a section, with the default's values where it has none; a choice of a kind is whole."""
    return {**_default()[section], **value}


def _fitting(section: str) -> dict[str, Any]:
    """Which engine an example of a model is for stands beside it in words."""
    return {"engine": {"kind": "vllm", "dtype": "float32"}} if section == "bootstrap" else {}


@pytest.mark.parametrize("file", PAGES, ids=NAMES)
def test_shell_lines_name_what_exists(file: Path) -> None:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for text in blocks(file, "", "shell"):
        if text.startswith("Makefile "):
            continue  # the tree of files
        assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == "", text
        for target in re.findall(r"^make ([a-z0-9-]+)", text, re.M):
            assert target in targets, target


@pytest.mark.parametrize("file", PAGES, ids=NAMES)
def test_modules_and_commands_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for module, command in re.findall(r"python -m ([a-z_.]+)(?:\s+([a-z-]+))?", text):
        assert importlib.util.find_spec(module), module
        if module == "tasks" and command:
            shown = subprocess.run(
                [sys.executable, "-m", "tasks", command, "--help"], cwd=ROOT, capture_output=True, text=True
            )
            assert shown.returncode == 0, command


def test_every_variable_is_listed_and_read() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in re.findall(r"`(RSTAR_[A-Z_]+)`", row)
    }
    assert {variable.name for variable in ALL} - _SET_BY_US == listed
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for name in ("rstar_core", "tasks", "flows")
        for path in (ROOT / name).rglob("*.py")
        if path.parent.name != "machine"
    )
    assert not re.findall(r'"(RSTAR_[A-Z_]+)"', code), "all of them stand in rstar_core/machine/variables.py"
