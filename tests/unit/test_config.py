"""Bad params get one line that names the file and the key, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rstar_core.config import load_params
from rstar_core.errors import UserError

DEFAULT = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def params() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(DEFAULT.read_text())
    return loaded


def complaint(params: Any, tmp_path: Path) -> str:
    file = tmp_path / "params.yaml"
    file.write_text(params if isinstance(params, str) else yaml.safe_dump(params, sort_keys=False))
    with pytest.raises(UserError) as caught:
        load_params(file)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{file}: ")


def test_a_misspelt_key_is_named_rather_than_the_one_that_it_should_be(params: dict[str, Any], tmp_path: Path) -> None:
    params["search"]["uct_see"] = params["search"].pop("uct_c")
    assert complaint(params, tmp_path) == "search.uct_see: unknown key; remove it or correct its name"


def test_a_missing_key_is_named(params: dict[str, Any], tmp_path: Path) -> None:
    del params["search"]["uct_c"]
    assert complaint(params, tmp_path).startswith("search.uct_c: ")


def test_a_guide_needs_the_ppm_of_a_round_that_has_one(params: dict[str, Any], tmp_path: Path) -> None:
    params["rounds"]["r1"]["guide"] = "ppm"
    assert complaint(params, tmp_path).startswith("rounds.r1.guide: 'ppm' needs the PPM of round 'r0'")


def test_a_guide_needs_a_ppm_that_is_trained(params: dict[str, Any], tmp_path: Path) -> None:
    params["rounds"]["r2"].update(has_ppm=False, num_system_problems=0)
    assert complaint(params, tmp_path).startswith("rounds.r3.guide: 'ppm' needs the PPM of round 'r2'; set rounds.r2.")


@pytest.mark.parametrize("number", [5, None])
def test_system_2_needs_a_ppm_that_is_trained(params: dict[str, Any], tmp_path: Path, number: int | None) -> None:
    params["rounds"]["r1"].update(has_ppm=False, num_system_problems=number)
    assert complaint(params, tmp_path).startswith("rounds.r1.num_system_problems: System 2 needs the round's PPM")


def test_no_more_layers_can_be_frozen_than_the_policy_has(params: dict[str, Any], tmp_path: Path) -> None:
    params["train_ppm"]["frozen_layers"] = 7
    assert complaint(params, tmp_path).startswith("train_ppm.frozen_layers: 7 are more than bootstrap.model")


def test_a_few_shot_policy_needs_an_engine_that_samples_it(params: dict[str, Any], tmp_path: Path) -> None:
    model = {"name": "some/model"}
    params["bootstrap"]["model"] = {"recipe": "few_shot", "policy": model, "base": model}
    assert complaint(params, tmp_path).startswith("engine.kind: 'local' cannot sample the policy of recipe 'few_shot'")


def test_a_temperature_of_zero_samples_nothing(params: dict[str, Any], tmp_path: Path) -> None:
    params["evaluate"]["temperature"] = 0
    assert complaint(params, tmp_path).startswith("evaluate.temperature: ")


def test_what_is_no_yaml_is_said_in_one_line(tmp_path: Path) -> None:
    assert complaint("seed: [1\nrounds: }", tmp_path).startswith("not valid YAML")


def test_a_missing_file_says_where_to_run_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run from the project's root"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["../../x", "a/b", "1r", "", "r 1", "r1\n", "-r", "r" * 33, "r@1"])
def test_a_rounds_name_is_plain_for_it_names_folders(name: str, params: dict[str, Any], tmp_path: Path) -> None:
    params["rounds"] = {name: params["rounds"]["r1"]}
    assert "a round's name is letters, digits" in complaint(params, tmp_path)


def test_r0_is_what_bootstrap_makes(params: dict[str, Any], tmp_path: Path) -> None:
    params["rounds"] = {"r0": params["rounds"]["r1"]}
    assert complaint(params, tmp_path).startswith("rounds.r0: ")


@pytest.mark.parametrize("where", ["seed: 1\n", "search: {uct_c: 1.0, uct_c: 2.0}\n"])
def test_a_key_that_is_there_twice_is_refused(where: str, tmp_path: Path) -> None:
    assert "is there twice" in complaint(DEFAULT.read_text() + where, tmp_path)
