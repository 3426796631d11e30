"""The runner: signature to flags, params to sections, metrics last, one line for what a user can mend."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from tasks.__main__ import main
from tasks.runner.lock import dvc_md5

ROOT = Path(__file__).parents[3]
STAGE = '''
from pathlib import Path
from rstar_core.config import Gate, Round, Seed
from rstar_core.errors import UserError

def paint(*, round_id: str, wall: Path, earlier: Path | None = None, seed: Seed, gate: Gate, round_: Round):
    """Paint a wall.

    More words.
    """
    if not wall.exists():
        raise UserError(f"{wall}: not found;\\n run the mason first")
    facts = {"seed": seed, "drop": gate.max_drop, "from": round_.from_, "earlier": str(earlier)}
    return {**facts, "timings": {"m2/s": 3.0}}
'''


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stages = tmp_path / "stages"
    stages.mkdir()
    (stages / "paint.py").write_text(STAGE)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(stages)])
    monkeypatch.delitem(sys.modules, "tasks.paint", raising=False)
    monkeypatch.setattr("tasks.runner.tracking.log_stage", lambda run: None)
    monkeypatch.setattr("tasks.__main__.die_with_parent", lambda: None)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wall").touch()
    return tmp_path


def paint(*more: str, round_id: str = "r2") -> int:
    return main(["paint", "--round-id", round_id, "--wall", "wall", "--metrics", "out/paint.json", *more])


def test_a_stage_gets_its_flags_and_typed_sections(workspace: Path) -> None:
    assert paint() == 0
    found = json.loads(Path("out/paint.json").read_text())
    assert found == {"seed": 20260, "drop": 0.05, "from": "r1", "earlier": "None"}


def test_an_optional_path_is_an_optional_flag(workspace: Path) -> None:
    assert paint("--earlier", "a/b") == 0
    assert json.loads(Path("out/paint.json").read_text())["earlier"] == "a/b"


def test_seconds_and_rates_go_beside_the_metrics_and_other_stages_entries_stay(workspace: Path) -> None:
    timings = workspace / "artifacts/r2/timings.json"
    timings.parent.mkdir(parents=True)
    timings.write_text('{"search": {"seconds": 1.0}}')
    paint()
    found = json.loads(timings.read_text())
    assert set(found) == {"search", "paint"}
    assert set(found["paint"]) == {"seconds", "m2/s"}


def test_what_a_user_can_mend_is_one_line_and_leaves_no_metrics(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "wall").unlink()
    assert paint() == 2
    assert capsys.readouterr().err == "error: wall: not found; run the mason first\n"
    assert not Path("out").exists()


def test_an_unknown_round_names_the_known_ones(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(round_id="r9") == 2
    assert "r1, r2, r3, r4" in capsys.readouterr().err


def test_an_unknown_stage_names_the_known_ones(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plaster"]) == 2
    assert "paint" in capsys.readouterr().err


def test_the_overview_has_each_stages_first_line(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "paint" in (out := capsys.readouterr().out) and "Paint a wall." in out and "More words" not in out


@pytest.mark.parametrize(
    "command",
    [
        *(["tasks"], ["flows.evolve"], ["flows.ui"], ["rstar_core.answers"]),
        *(["tasks", name] for name in ("ingest", "synthesize", "train_ppm", "check", "ablate", "release", "fetch")),
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    module, *arguments = command
    code = f"import runpy, sys; sys.argv = {[module, *arguments, '--help']}\n"
    code += f"try: runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
    code += "except SystemExit: pass\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *help_lines, loaded = done.stdout.splitlines()
    assert help_lines
    assert not {"torch", "transformers", "mlflow", "prefect", "dvc", "pandas", "sympy", "s3fs"} & set(loaded.split())


def test_the_overview_loads_nothing_heavy() -> None:
    code = "import sys; from tasks.__main__ import main; main(['--help']); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "mlflow", "prefect"} & set(loaded.split())


@pytest.mark.parametrize("module", ["tasks", "flows.evolve", "flows.ui"])
def test_another_python_is_one_line_that_says_how(module: str) -> None:
    """As an interpreter without the project's packages: -S leaves them out."""
    code = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sys.executable} has no ") and done.stderr.count("\n") == 1
    assert "source .venv/bin/activate" in done.stderr


# --- inputs that change while the stage runs ------------------------------------------------------------------

REWRITE = "Path('params.yaml').write_text(Path('params.yaml').read_text()"
CHANGES = {
    "an input": ("wall", "Path('wall').write_text('new')"),
    "its file among others": ("house", "Path('house/door').write_text('new')"),
    "its code": ("brush.py", "Path('brush.py').write_text('new')"),
    "its params": ("params.yaml", f"{REWRITE}.replace('20260', '7'))"),
}


@pytest.fixture
def house(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (workspace / "house").mkdir()
    (workspace / "house" / "door").touch()
    (workspace / "brush.py").touch()
    (workspace / "dvc.yaml").write_text("stages: {paint: {foreach: [r2], do: {cmd: x, deps: [brush.py, '${item}/y']}}}")
    monkeypatch.setenv("DVC_STAGE", "paint@r2")
    return workspace


def acting(workspace: Path, code: str) -> int:
    """``paint``, which does ``code`` meanwhile."""
    (workspace / "stages" / "paint.py").write_text(STAGE.replace("    facts = ", f"    {code}\n    facts = "))
    return paint("--earlier", "house")


@pytest.mark.parametrize(("name", "code"), CHANGES.values(), ids=CHANGES)
def test_what_changes_while_the_stage_runs_ends_it(
    house: Path, capsys: pytest.CaptureFixture[str], name: str, code: str
) -> None:
    assert acting(house, code) == 2
    assert f"{name} changed while the stage ran" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["wall", "house"])
def test_what_is_not_as_its_stage_made_it_is_refused(
    house: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    made = [{"path": path, "md5": dvc_md5(Path(path))} for path in ("wall", "house/door")]
    (house / "dvc.lock").write_text(json.dumps({"stages": {"build": {"cmd": "x", "outs": made}}}))
    assert acting(house, "pass") == 0
    file = house / name if name == "wall" else house / "house" / "door"
    file.write_text("\x01")
    assert acting(house, "pass") == 2
    assert "has changed since build made it; run: dvc checkout --force" in capsys.readouterr().err


@pytest.mark.parametrize(
    "code",
    [
        "Path('elsewhere').write_text('new')",
        "Path('house/__pycache__').mkdir()",
        f"{REWRITE}.replace('fraction: 0.01', 'fraction: 0.02'))",
    ],
    ids=["another file", "compiled code", "another section of params.yaml"],
)
def test_what_the_stage_does_not_read_may_change(house: Path, code: str) -> None:
    assert acting(house, code) == 0


def test_without_dvc_outputs_may_be_there_already(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert acting(workspace, "Path('wall').write_text('new')") == 0
