"""``python -m rstar_core.answers``: lines in, lines out, and one clear line for a bad one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rstar_core.answers.__main__ import main


def grade(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rstar_core.answers", "--jsonl", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    """What the command says of a file that it does not take."""

    def run(path: Path) -> str:
        monkeypatch.setattr("sys.argv", ["answers", "--jsonl", str(path)])
        assert main() == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        return error

    return run


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


@pytest.mark.slow
def test_each_pair_has_its_line_and_no_answer_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pairs = [
        {"gold": r"\frac{1}{2}", "answer": "0.5", "more": "is ignored"},
        {"gold": "7", "answer": "8"},
        {"gold": "3.14", "answer": "3.1416", "tolerance": "0.005"},
        {"gold": "5", "answer": "9" * 1_000_000},
        {"gold": r"\sin(2x)", "answer": r"2\sin x\cos x"},
        {"gold": "5", "answer": f"open({str(canary)!r}, 'w')"},
        {"gold": "5", "answer": "(" * 3000 + "5" + ")" * 3000},
        {"gold": "5", "answer": "\0{{"},
    ]
    done = grade(write(tmp_path / "pairs.jsonl", *pairs, ""))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [row["equal"] for row in rows]) == (0, [True, False, True, None, True, None, None, None])
    assert [row["rule"] for row in rows[:5]] == ["number", "number", "precision", "too_long", "math_verify"]
    assert all(set(row) == {"equal", "rule", "seconds"} and row["seconds"] >= 0 for row in rows)
    assert not canary.exists()


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "5", '{"gold": "1"}', '{"gold": 1, "answer": "1"}', '{"gold": "1", "answer": null}', "[" * 100_000,
     '{"gold": "1", "answer": "1", "tolerance": "-1"}', '{"gold": "1", "answer": "1", "tolerance": []}'],
)  # fmt: skip
def test_a_bad_line_is_named_before_anything_is_graded(
    tmp_path: Path, refused: Callable[[Path], str], line: str
) -> None:
    path = write(tmp_path / "pairs.jsonl", {"gold": "1", "answer": "1"}, line)
    assert refused(path).startswith(f'error: {path}:2: not {{"gold": text, "answer": text')


def test_a_missing_file_is_one_line(tmp_path: Path, refused: Callable[[Path], str]) -> None:
    assert refused(tmp_path / "nowhere.jsonl").startswith(f"error: {tmp_path / 'nowhere.jsonl'}: cannot be read")
