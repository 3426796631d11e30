"""Every params file in the repository loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstar_core.config import load_params
from tests.contract.imports import ROOT

FILES = [ROOT / "params.yaml", *sorted((ROOT / "infra" / "profiles").glob("*.yaml"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_params_file_is_valid(file: Path) -> None:
    assert load_params(file).rounds
