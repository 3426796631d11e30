"""A checkpoint counts where it is as it was sealed; a damaged one is left out, and the one before it counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstar_core.journal.checkpoints import SEAL, newest, seal


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    checkpoint = tmp_path / "checkpoint-20"
    checkpoint.mkdir()
    (checkpoint / "weights").write_bytes(b"weights")
    seal(checkpoint)
    return checkpoint


def test_a_whole_one_is_found(sealed: Path) -> None:
    assert newest(sealed.parent) == sealed


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"weights": "0"}'])
def test_a_damaged_seal_is_none(sealed: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (sealed / SEAL).write_bytes(content)
    assert newest(sealed.parent) is None
    assert "not whole; left out" in capsys.readouterr().err


def test_an_altered_file_is_noticed(sealed: Path) -> None:
    (sealed / "weights").write_bytes(b"weightz")
    assert newest(sealed.parent) is None


def test_a_file_in_its_place_is_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-3").write_text("")
    assert newest(tmp_path) is None
