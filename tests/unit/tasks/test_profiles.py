"""Profiles: params.yaml becomes one of them, and what somebody wrote there is not lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.runner.profiles import current, main

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("infra/profiles").mkdir(parents=True)
    Path("infra/profiles/tiny.yaml").write_text("seed: 1\n")
    Path("params.yaml").write_text("seed: 2\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*GIT, *command], check=True)
    return tmp_path


def test_there_and_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert current() == "default"
    assert main(["tiny"]) == 0 and Path("params.yaml").read_text() == "seed: 1\n"
    assert main([]) == 0 and capsys.readouterr().out == "params.yaml is now tiny\nparams.yaml is tiny\n"
    assert main(["default"]) == 0 and Path("params.yaml").read_text() == "seed: 2\n"


def test_own_changes_are_not_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text("seed: 3\n")
    assert main(["tiny"]) == 2
    assert capsys.readouterr().err == (
        "error: params.yaml has changes of its own; keep it under another name, infra/profiles/mine.yaml, "
        "or drop them: git checkout params.yaml\n"
    )
    assert Path("params.yaml").read_text() == "seed: 3\n"
    Path("params.yaml").rename("infra/profiles/mine.yaml")
    assert main(["tiny"]) == 0 and main(["mine"]) == 0 and current() == "mine"


def test_an_unknown_profile_names_the_known_ones(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["huge"]) == 2
    assert capsys.readouterr().err == "error: 'huge' is no profile; there are: default, tiny\n"
