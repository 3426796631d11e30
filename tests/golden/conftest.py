from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rstar_core.mcts.tree import Tree
from tests.golden.rendering import render


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Callable[[str, Tree], None]:
    """Compares a tree with its file, node by node; with --update-golden it writes the file instead."""

    def compare(name: str, tree: Tree) -> None:
        file, lines = Path(__file__).with_name(f"{name}.txt"), render(tree)
        if request.config.getoption("--update-golden"):
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert lines == file.read_text(encoding="utf-8").splitlines(), "reviewed and meant? pytest --update-golden"

    return compare
