"""``tasks solve``: what each method answers to a question, shown to people or as JSON; mistakes are one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rstar_core.engines.scripted import ScriptedReward
from rstar_core.io import write_json
from rstar_core.problems.identity import problem_id
from tasks.__main__ import main
from tests.unit.tasks.test_evaluate import LIMITS, Models, OneByOne, ToyBox, score

ROOT = Path(__file__).parents[3]
QUESTION = "What is 2 + 2?"
FLAT, TREES = ("4", "5", "5", "5"), ("5", "4", "5", "5")  # the PPM prefers 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose rounds r1 and r2 have run; r2 was the better one."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["search"] = {**params["search"], "max_step_tokens": 8, "top_p": 0.8, "settled_after": None}
    params["evaluate"].update(num_trees=4, num_candidates=1, num_rollouts=1, temperature=0.6)
    Path("params.yaml").write_text(yaml.safe_dump(params))
    rows = [{"round_id": name, "policy_pass@1": {"all": value}} for name, value in (("r1", 0.4), ("r2", 0.6))]
    for name in ("r1", "r2"):
        (tmp_path / "artifacts" / name / "policy").mkdir(parents=True)
        (tmp_path / "artifacts" / name / "ppm").mkdir()
        write_json(tmp_path / "artifacts" / name / "summary.json", {"rounds": rows})
    monkeypatch.setattr("rstar_core.evaluation.solving.open_sandbox", ToyBox)
    monkeypatch.setattr("rstar_core.evaluation.solving.GraderSandbox", lambda: ToyBox(LIMITS))
    for module in ("tasks.commands.solve", "rstar_core.evaluation.solving"):
        monkeypatch.setattr(f"{module}.has_ppm", lambda path: not (path / "null").exists())
    return tmp_path


class AnyPpm(Models):
    def guide(self, kind: str, ppm: Path) -> Any:
        return self.its_guide


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The policies that were loaded; each knows two questions."""
    found: list[Path] = []

    def load(path: Path, engine: object) -> Models:
        found.append(path)
        keys = [problem_id(QUESTION), problem_id("Again?")]
        alone = OneByOne({key: ["4"] for key in keys})
        return AnyPpm(alone, OneByOne(dict.fromkeys(keys, FLAT + TREES)), ScriptedReward(score))

    monkeypatch.setattr("rstar_core.evaluation.solving.load_policy", load)
    return found


def ways(line: str) -> dict[str, dict[str, Any]]:
    return {one["way"]: one for one in json.loads(line)["methods"]}


def test_each_method_gives_its_answer_with_its_vote_and_verdict(
    folder: Path, loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["solve", QUESTION, "--answer", "4", "--json"]) == 0
    found = ways(capsys.readouterr().out)
    assert {way: (one["answer"], one["verdict"]) for way, one in found.items()} == {
        "policy_pass@1": ("4", "equal"),
        "maj@4": ("5", "different"),
        "system@4": ("5", "different"),
        "best@4": ("4", "equal"),
        "majority@4": ("5", "different"),
    }
    assert found["maj@4"]["share"] == 0.75 and found["best@4"]["share"] is None
    assert [step["kind"] for step in found["system@4"]["steps"]] == ["code_end", "answer"]
    assert found["policy_pass@1"]["num_tokens"] == 12
    assert loaded == [Path("artifacts/r2/policy")], "the best round"


def test_a_person_sees_the_solution_and_a_table(
    folder: Path, loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["solve", QUESTION, "--round", "r1"]) == 0
    said = capsys.readouterr().out
    assert "print('5')" in said and "-> 5" in said and "system@4" in said
    assert "verdict" not in said
    assert loaded == [Path("artifacts/r1/policy")]


def test_several_questions_share_one_load(folder: Path, loaded: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"problem": QUESTION, "answer": 4}, {"question": "Again?"}]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["solve", "--jsonl", "rows.jsonl", "--json"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert ways(first)["system@4"]["verdict"] == "different" and "verdict" not in ways(second)["system@4"]
    assert len(loaded) == 1


def test_a_round_without_a_ppm_has_the_policy_alone(
    folder: Path, loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("artifacts/r2/ppm/null").touch()
    assert main(["solve", QUESTION, "--json"]) == 0
    assert list(ways(capsys.readouterr().out)) == ["policy_pass@1"]


def test_what_a_model_writes_does_not_steer_the_terminal(
    folder: Path, loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from rstar_core.reports.thinking import printable

    assert printable("a\x1b[2Jb\nc\t\x07") == "a�[2Jb\nc\t�"


def no_rounds() -> None:
    for path in Path("artifacts").glob("*/policy"):
        path.rmdir()


@pytest.mark.parametrize(
    ("prepare", "argv", "said"),
    [
        (no_rounds, [QUESTION], "no round has run here; make evolve first"),
        (None, [QUESTION, "--round", "r9"], "round 'r9' has no policy here; there are: r1, r2"),
        (None, [" "], "no question; give one"),
        (None, ["x" * 20_001], "the question has 20001 characters; at most 20000"),
        (None, ["--jsonl", "none.jsonl"], "none.jsonl: cannot be read"),
        (None, ["--jsonl", "params.yaml"], "params.yaml:1: not a JSON object with 'problem' or 'question'"),
        (None, [QUESTION, "--jsonl", "params.yaml"], "--jsonl has questions and answers of its own"),
    ],
)
def test_a_mistake_is_one_line(
    prepare: Callable[[], None] | None,
    argv: list[str],
    said: str,
    folder: Path,
    loaded: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if prepare:
        prepare()
    assert main(["solve", *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") and error.count("\n") == 1
