"""Problems, released rounds and DVC's remote on a real S3 server, as users set it up: by the environment alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rstar_core.errors import UserError
from rstar_core.problems.files import read_rows
from tasks.commands.releases import MANIFEST, fetch, release
from tests.s3.conftest import Flaky, Store

ROWS = [{"problem": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(50)]
ADDRESS = "s3://bucket/rounds"


@pytest.fixture
def problems(store: Store, credentials: None) -> str:
    (store.bucket / "problems.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return "s3://bucket/problems.jsonl"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cut_off(*_: object) -> bytes:
    raise OSError("cut off")


# --- problems -------------------------------------------------------------------------------------------------


def test_problems_are_read(problems: str) -> None:
    rows, bad = read_rows(problems, "mine", 0.0)
    assert ([row.problem.answer for row in rows], bad) == ([row["answer"] for row in ROWS], [])


def test_a_server_that_drops_every_third_request_is_asked_again(problems: str, flaky: Flaky) -> None:
    for _ in range(6):
        assert len(read_rows(problems, "mine", 0.0)[0]) == len(ROWS)
    assert len(flaky.dropped) >= 2


@pytest.mark.parametrize(
    "variable, value, path, told",
    [
        ("AWS_SECRET_ACCESS_KEY", "another", "bucket/problems.jsonl", "cannot be read"),
        ("AWS_ACCESS_KEY_ID", "nobody", "bucket/problems.jsonl", "cannot be read"),
        ("AWS_DEFAULT_REGION", "us-east-1", "bucket/nothing.jsonl", "not found"),
        ("AWS_DEFAULT_REGION", "us-east-1", "elsewhere/problems.jsonl", "not found"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "bucket/problems.jsonl", "cannot be read"),
    ],
)
def test_what_keeps_problems_from_being_read_is_one_line(
    problems: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, path: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=told) as raised:
        read_rows(f"s3://{path}", "mine", 0.0)
    assert str(raised.value).startswith(f"s3://{path}: ") and "\n" not in str(raised.value)


# --- released rounds ------------------------------------------------------------------------------------------


def test_a_round_comes_back_as_it_was_and_is_sent_once(
    credentials: None, store: Store, round_folder: Path, tmp_path: Path
) -> None:
    first = release("r1", ADDRESS)
    assert (first.num_files, first.num_sent) == (4, 3)  # two files hold the same
    assert fetch("r1", ADDRESS, tmp_path / "copy") == 4
    assert contents(tmp_path / "copy") == contents(round_folder)
    (round_folder / "sft/card.md").write_text("# Another")
    assert release("r1", ADDRESS).num_sent == 1


def test_a_flaky_server_costs_time_only(flaky: Flaky, round_folder: Path, tmp_path: Path) -> None:
    release("r1", ADDRESS)
    fetch("r1", ADDRESS, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(round_folder)
    print(f"{len(flaky.dropped)} of {len(flaky.requests)} requests dropped")
    assert len(flaky.dropped) >= 3


def test_an_interrupted_release_is_not_seen(
    credentials: None, store: Store, round_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objects come first: without the new manifest readers have the old round, whole."""
    release("r1", ADDRESS)
    before = contents(round_folder)
    (round_folder / "summary.json").write_text('{"rounds": []}')
    with monkeypatch.context() as patch:
        patch.setattr("tasks.commands.releases.json_bytes", cut_off)
        with pytest.raises(UserError, match="cut off"):
            release("r1", ADDRESS)
    fetch("r1", ADDRESS, tmp_path / "copy")
    assert contents(tmp_path / "copy") == before


def test_what_is_not_what_the_manifest_states_is_refused_and_leaves_no_folder(
    credentials: None, store: Store, round_folder: Path, tmp_path: Path
) -> None:
    release("r1", ADDRESS)
    objects = store.bucket / "rounds/r1"
    (largest,) = (path for path in (objects / "files").iterdir() if path.stat().st_size > 1 << 20)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"policy/model.safetensors is not what the manifest states"):
        fetch("r1", ADDRESS, tmp_path / "copy")
    (objects / MANIFEST).write_text(json.dumps({"files": {"../../home": "0" * 64}}))
    with pytest.raises(UserError, match="leads out of the folder"):
        fetch("r1", ADDRESS, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "variable, value, address, told",
    [
        ("AWS_SECRET_ACCESS_KEY", "another", ADDRESS, "can't be used"),
        ("AWS_DEFAULT_REGION", "us-east-1", "s3://elsewhere/rounds", "can't be used"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", ADDRESS, "can't be used"),
        ("AWS_DEFAULT_REGION", "us-east-1", "bucket/rounds", "not an address"),
    ],
)
def test_a_store_that_can_not_be_used_is_one_line(
    credentials: None,
    round_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    address: str,
    told: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=told) as raised:
        release("r1", address)
    assert "\n" not in str(raised.value)


def test_only_a_finished_round_is_released_and_only_a_released_one_is_fetched(
    credentials: None, round_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no released round"):
        fetch("r1", ADDRESS, tmp_path / "copy")
    (round_folder / "summary.json").unlink()
    with pytest.raises(UserError, match=r"no finished round.*dvc repro summarize@r1"):
        release("r1", ADDRESS)


# --- DVC's remote ---------------------------------------------------------------------------------------------


def test_dvc_pushes_to_it_and_a_colleague_pulls(flaky: Flaky, tmp_path: Path) -> None:
    def dvc(project: Path, *arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("dvc")), *arguments]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for project in (mine, theirs):
        project.mkdir()
        dvc(project, "init", "--no-scm")
        dvc(project, "remote", "add", "--default", "s3", "s3://bucket/dvc")
        dvc(project, "remote", "modify", "s3", "endpointurl", flaky.endpoint)
    (mine / "made").mkdir()
    for number in range(5):
        (mine / f"made/{number}.txt").write_text(f"content {number}")
    stage = "stages:\n  make:\n    cmd: exit 1\n    outs: [made]\n"
    (mine / "dvc.yaml").write_text(stage)
    dvc(mine, "commit", "--force")
    dvc(mine, "push")
    for name in ("dvc.yaml", "dvc.lock"):
        (theirs / name).write_bytes((mine / name).read_bytes())
    dvc(theirs, "pull")
    assert contents(theirs / "made") == contents(mine / "made")
    assert "Data and pipelines are up to date" in dvc(theirs, "repro")
    assert len(flaky.dropped) >= 3
