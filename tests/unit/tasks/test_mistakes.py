"""Mistakes that users make: each costs an exit code and a line that names thing and mend, and nothing is written."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import flows.evolve
import flows.ui
from rstar_core.config import PretrainedModel
from rstar_core.io import write_problems, write_sft_examples
from rstar_core.policy.folder import save_policy
from rstar_core.policy.model import load_tokenizer
from rstar_core.policy.pretrained import load_pretrained
from rstar_core.ppm.model import write_null_ppm
from rstar_core.problems.identity import problem_id
from rstar_core.types import Problem
from tasks.__main__ import main
from tests.unit.policy.tiny import make_plain

ROOT = Path(__file__).parents[3]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MADE = Path("artifacts")


def stage(name: str) -> list[str]:
    """The command line of a stage, of r1 where it has rounds, after ``python -m tasks``."""
    text = DVC[name].get("do", DVC[name])["cmd"].replace("${key}", "r1").replace("${item.from}", "r0")
    return shlex.split(text)[4:]


# --- how it comes about ---------------------------------------------------------------------------------------


def set_param(path: str, value: Any) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    *parents, last = path.split(".")
    place = params
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def param(path: str, value: Any) -> Callable[[], None]:
    return lambda: set_param(path, value)


def text(content: str) -> Callable[[], None]:
    return lambda: void(Path("params.yaml").write_text(content))


def source(name: str, content: bytes | None, **fields: Any) -> Callable[[], None]:
    """A file as the only source of problems."""

    def make() -> None:
        if content is not None:
            Path("data", name).write_bytes(content)
        one = {"kind": "file", "split": "train", "path": f"data/{name}", "source": "mine", **fields}
        set_param("ingest.sources", [one])

    return make


def rows(*some: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, some)).encode()


def void(*_: Any) -> None:
    return None


def some_problems() -> None:
    write_problems(MADE / "problems/train.parquet", [Problem(problem_id("One?"), "One?", "1", 1, "mine", "MIT")])
    (MADE / "r0").mkdir(parents=True)
    write_null_ppm(MADE / "r0/ppm")


def no_problems() -> None:
    some_problems()
    write_problems(MADE / "problems/benchmark.parquet", [])
    write_problems(MADE / "problems/train.parquet", [])


def plain_policy() -> None:
    """A pretrained model as it is, which has never seen a step marker, in the policy's place."""
    from transformers import AutoModelForCausalLM

    some_problems()
    make_plain(Path("plain"))
    model = AutoModelForCausalLM.from_pretrained("plain", local_files_only=True)
    save_policy(MADE / "r0/policy", model, load_tokenizer(Path("plain")), None)
    shutil.rmtree("plain")


def good_policy() -> None:
    some_problems()
    make_plain(Path("plain"))
    save_policy(MADE / "r0/policy", *load_pretrained(PretrainedModel(name="plain")), None)
    shutil.rmtree("plain")


def pickled_policy() -> None:
    plain_policy()
    for file in (MADE / "r0/policy").glob("*.safetensors"):
        file.rename(file.with_name("pytorch_model.bin"))


def ppm_guided() -> None:
    plain_policy()
    set_param("rounds.r1.guide", "ppm")


def no_examples() -> None:
    write_sft_examples(MADE / "r1/sft/train.parquet", [])


def finished_round() -> None:
    (MADE / "r1").mkdir(parents=True)
    (MADE / "r1/summary.json").write_text("{}")


GOOD = {"problem": "One?", "answer": "1"}
PARAMS, SOURCES = "params.yaml", "data/a.jsonl"
MISTAKES: dict[str, tuple[Callable[[], None], list[str], tuple[str, ...]]] = {
    # params.yaml
    "no params.yaml": (lambda: Path(PARAMS).unlink(), stage("ingest"), (PARAMS, "not found")),
    "params.yaml is no YAML": (text("seed: [1"), stage("ingest"), (PARAMS, "line 1")),
    "params.yaml is a list": (text("- 1"), stage("ingest"), (PARAMS,)),
    "an unknown key": (param("search.depth", 3), stage("ingest"), ("search.depth", "remove it or correct")),
    "an unknown section": (param("serach", {}), stage("ingest"), ("serach", "remove it or correct")),
    "no rollouts": (param("rounds.r1.num_rollouts", 0), stage("synthesize"), ("rounds.r1.num_rollouts", "1")),
    "text for a number": (param("seed", "many"), stage("ingest"), ("seed", "integer")),
    "a negative rate": (param("train_policy.training.learning_rate", -1), stage("ingest"), ("learning_rate", "0")),
    "a share above one": (param("ingest.max_bad_fraction", 2), stage("ingest"), ("max_bad_fraction", "1")),
    "an unknown guide": (param("rounds.r1.guide", "oracle"), stage("ingest"), ("rounds.r1.guide", "'terminal'")),
    "a round from nowhere": (param("rounds.r1.from", "r7"), stage("ingest"), ("r1", "r7")),
    "rounds out of order": (param("rounds.r1.from", "r2"), stage("ingest"), ("r1", "r2")),
    "vLLM with float64": (param("engine.kind", "vllm"), stage("ingest"), ("dtype", "float32")),
    "heads that do not divide": (
        param("bootstrap.model.architecture.num_heads", 5),
        stage("ingest"),
        ("num_heads", "multiple"),
    ),
    # files
    "a missing file": (source("a.jsonl", None), stage("ingest"), (SOURCES, "not found", "fetch")),
    "an empty file": (source("a.jsonl", b""), stage("ingest"), (SOURCES, "no rows", "mend the file")),
    "another kind of file": (source("a.xlsx", b"PK"), stage("ingest"), ("data/a.xlsx", "convert it")),
    "a broken archive": (source("a.jsonl.gz", b"gz"), stage("ingest"), ("data/a.jsonl.gz", "cannot be read")),
    "half an archive": (
        source("a.jsonl.gz", gzip.compress(rows(GOOD) * 99)[:40]),
        stage("ingest"),
        ("data/a.jsonl.gz", "cannot be read"),
    ),
    "a broken Parquet file": (source("a.parquet", b"PAR1"), stage("ingest"), ("data/a.parquet", "cannot be read")),
    "an offset beyond the file": (source("a.jsonl", rows(GOOD), offset=5), stage("ingest"), ("offset 5", "smaller")),
    "demonstrations without solutions": (
        source("a.jsonl", rows(GOOD), split="demonstrations"),
        stage("ingest"),
        ("demonstrations", "solutions"),
    ),
    # rows
    "malformed rows": (source("a.jsonl", b'{"problem": "One?"'), stage("ingest"), (SOURCES, "line 1", "broken JSON")),
    "rows without an answer": (source("a.jsonl", rows({"problem": "One?"})), stage("ingest"), ("no answer", "line 1")),
    "answers that are none": (
        source("a.jsonl", rows({**GOOD, "answer": "None"})),
        stage("ingest"),
        ("'None' is none",),
    ),
    "a misspelt field": (source("a.jsonl", rows({**GOOD, "levle": 1})), stage("ingest"), ("unknown field 'levle'",)),
    "judged solutions": (
        source("a.jsonl", rows({**GOOD, "steps": [], "label": 1})),
        stage("ingest"),
        ("judged solution", "max_bad_fraction"),
    ),
    # stages out of order, and what an earlier one should have made
    "an unknown stage": (void, ["synthesise"], ("'synthesise' is not a stage", "synthesize")),
    "no problems yet": (void, stage("synthesize"), ("artifacts/problems/train.parquet", "dvc repro")),
    "no training problems": (no_problems, stage("synthesize"), ("no training problems", "ingest.sources")),
    "no policy": (some_problems, stage("synthesize"), ("artifacts/r0/policy",)),
    "no held-out problems": (no_problems, stage("evaluate_r0"), ("no held-out problems", "'benchmark'")),
    "a policy without step markers": (
        plain_policy,
        stage("synthesize"),
        ("step markers", "train it with this project"),
    ),
    "a pickled checkpoint": (pickled_policy, stage("synthesize"), ("artifacts/r0/policy", "safetensors")),
    "a guide that its round does not have": (
        ppm_guided,
        stage("synthesize"),
        ("rounds.r1.guide", "'r0', which has none", "'terminal'"),
    ),
    "no examples": (no_examples, stage("train_policy"), ("r1 has no SFT examples", "raise rounds.r1.num_rollouts")),
    "a round to release that is not finished": (
        void,
        ["release", "--round-id", "r1", "--to", "s3://bucket"],
        ("artifacts/r1", "dvc repro summarize@r1"),
    ),
    "a release to no address": (
        finished_round,
        ["release", "--round-id", "r1", "--to", "bucket"],
        ("bucket: not an address", "s3://"),
    ),
    "a fetch into a folder that is there": (
        finished_round,
        ["fetch", "--round-id", "r1", "--from", "s3://bucket", "--into", "artifacts"],
        ("artifacts: exists", "another folder"),
    ),
    "an ablation of no round": (void, ["ablate", "--round-id", "r9"], ("artifacts/r9", "summarize@r9")),
}
SETTINGS = {  # an environment variable, its value, and what the line says
    "processes": ("RSTAR_SEARCH_PROCESSES", "two", ("RSTAR_SEARCH_PROCESSES", "whole number")),
    "keys and values": ("RSTAR_KV_CACHE_MIB", "much", ("RSTAR_KV_CACHE_MIB", "whole number")),
    "a floor of disk": ("RSTAR_MIN_FREE_MIB", "999999999", ("MiB are free", "make room")),
    "a floor that is none": ("RSTAR_MIN_FREE_MIB", "-1", ("RSTAR_MIN_FREE_MIB", "whole number")),
    "sandbox servers": ("RSTAR_SANDBOX_SERVERS", "0", ("RSTAR_SANDBOX_SERVERS",)),
    "a journal that is a file": ("RSTAR_JOURNAL", "params.yaml/journal", ("params.yaml/journal",)),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.__main__.die_with_parent", void)
    monkeypatch.setattr("tasks.runner.tracking.log_stage", lambda run: pytest.fail("the stage went through"))
    yield tmp_path


def files() -> dict[str, bytes]:
    """All files of the project but logs and journals: these are where the same command goes on."""
    found = (path for path in Path().rglob("*") if path.is_file() and path.parts[0] not in ("run", "journal"))
    return {str(path): path.read_bytes() for path in found}


def assert_one_line(code: int, err: str, told: tuple[str, ...]) -> None:
    assert code == 2, err
    said = [line for line in err.splitlines() if not line.startswith("sandbox: ")]
    (line,) = said
    assert line.startswith("error: ")
    for part in told:
        assert part in line


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_one_line(name: str, project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare, command, told = MISTAKES[name]
    prepare()
    before = files()
    capfd.readouterr()
    code = main(command)
    assert_one_line(code, capfd.readouterr().err, told)
    assert files() == before


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.slow
def test_a_setting_that_is_none_costs_one_line(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    variable, value, told = SETTINGS[name]
    good_policy()
    monkeypatch.setenv(variable, value)
    before = files()
    capfd.readouterr()
    code = main(stage("synthesize"))
    assert_one_line(code, capfd.readouterr().err, told)
    assert files() == before


@pytest.mark.slow
def test_flows_and_servers_are_as_strict(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_one_line(flows.evolve.main(["--round", "r9"]), capfd.readouterr().err, ("'r9' is not a round", "r1, r2"))
    monkeypatch.setenv("RSTAR_PREFECT_PORT", "http")
    assert_one_line(flows.ui.main([]), capfd.readouterr().err, ("RSTAR_PREFECT_PORT", "must be a port", "'http'"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RSTAR_PREFECT_PORT", str(taken.getsockname()[1]))
        assert_one_line(flows.ui.main([]), capfd.readouterr().err, ("is in use", "make ui RSTAR_PREFECT_PORT"))
    set_param("search.depth", 3)
    assert_one_line(flows.evolve.main([]), capfd.readouterr().err, ("search.depth", "remove it"))
