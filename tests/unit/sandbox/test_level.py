"""What isolation is enough, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rstar_core.errors import UserError
from rstar_core.machine.variables import SANDBOX_ALLOW_WEAK
from rstar_core.sandbox.__main__ import main
from rstar_core.sandbox.level import check_level, describe

PARAMS = str(Path(__file__).parents[3] / "params.yaml")


@pytest.mark.parametrize("layers", [["seccomp", "mounts"], ["seccomp", "landlock"]])
def test_a_filter_and_a_wall_around_files_are_enough(layers: list[str]) -> None:
    check_level(layers)


@pytest.mark.parametrize("layers", [[], ["seccomp"], ["namespaces", "mounts", "landlock"]])
def test_less_is_refused_unless_the_environment_allows_it(layers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SANDBOX_ALLOW_WEAK.name, raising=False)
    with pytest.raises(UserError, match=f"{SANDBOX_ALLOW_WEAK.name}=1"):
        check_level(layers)
    monkeypatch.setenv(SANDBOX_ALLOW_WEAK.name, "1")
    check_level(layers)


def test_what_is_missing_is_named() -> None:
    assert describe(["seccomp", "landlock"]).endswith("(without: namespaces, mounts, own user, snapshots)")


def test_the_probe_prints_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--probe", "--params", PARAMS]) == 0
    assert "seccomp" in capsys.readouterr().out


@pytest.mark.parametrize("tree", [[], ["--tree"]])
def test_snippets_come_back_line_by_line(tree: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "snippets.jsonl"
    codes = {"two": "print(1 + 1)", "bad": "1 / 0"}
    file.write_text("".join(json.dumps({"name": name, "code": code}) + "\n" for name, code in codes.items()))
    assert main(["--jsonl", str(file), "--params", PARAMS, *tree]) == 0
    two, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (two["name"], two["status"], two["stdout"]) == ("two", "ok", "2\n")
    assert (bad["name"], bad["status"], bad["error"]) == ("bad", "error", "ZeroDivisionError: division by zero")
    assert set(two) == {"name", "status", "stdout", "error", "seconds", "cpu_seconds", "raised", "signal", "peak_mib"}
    assert bad["raised"] == {"type": "ZeroDivisionError", "message": "division by zero", "line": 1}


def test_a_bad_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "snippets.jsonl"
    file.write_text('{"name": "x", "code": "1"}\n{"name": 1}\n')
    assert main(["--jsonl", str(file), "--params", PARAMS]) == 2
    assert f"{file}:2: not a snippet" in capsys.readouterr().err


def showing_the_interpreter() -> str:
    """Shell commands that make the interpreter readable where it lies in somebody's closed home."""
    closed = [folder for folder in reversed(Path(sys.base_prefix).parents) if not folder.stat().st_mode & 1]
    if not closed:
        return "true"
    inner = closed[0] / Path(sys.base_prefix).relative_to(closed[0]).parts[0]
    hide = f"mount --bind {inner} /mnt && mount -t tmpfs -o mode=755 none {closed[0]}"
    return f"{hide} && mkdir {inner} && mount --bind /mnt {inner}"


ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become an ordinary user")
@pytest.mark.skipif(
    any(not one.stat().st_mode & 1 for one in (ROOT, *ROOT.parents)), reason="others can't read this folder"
)
def test_an_ordinary_user_gets_a_sandbox_too() -> None:
    probe = f"{sys.executable} -m rstar_core.sandbox --probe --params {PARAMS}"
    become = "exec setpriv --reuid 65534 --regid 65534 --clear-groups"
    command = ["unshare", "--mount", "sh", "-c", f"{showing_the_interpreter()} && {become} {probe}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"namespaces", "mounts", "seccomp"} <= set(done.stdout.partition(" (")[0].strip().split(", "))
