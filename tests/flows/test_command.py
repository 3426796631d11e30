"""The installed command ``rstar``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.command import COMMANDS, COMPLETION, main

RSTAR = Path(sys.executable).with_name("rstar")


def test_it_lists_its_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rstar"])
    assert main() == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[2:]] == [*COMMANDS, COMPLETION]


@pytest.mark.parametrize(
    ("name", "mend"),
    [("sovle", "did you mean 'solve'?"), ("xyz", "there are: evolve, profile, solve, serve, show, ui, check")],
)
def test_what_it_does_not_know_is_one_line(
    name: str, mend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rstar", name])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: rstar has no command '{name}'; {mend}") and said.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_how_it_is_used(name: str) -> None:
    done = subprocess.run([RSTAR, name, "--help"], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr


def test_a_commands_exit_code_is_its_own(tmp_path: Path) -> None:
    done = subprocess.run([RSTAR, "solve", "What is 1 + 1?"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_shell_completes_the_names() -> None:
    script = f'eval "$({RSTAR} completion)"; complete -p rstar'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and all(f" {name}" in done.stdout.replace("'", " ") for name in COMMANDS), done.stderr
