from __future__ import annotations

import os

import pytest
from hypothesis import settings

os.environ.setdefault("RSTAR_SEARCH_PROCESSES", "1")  # another process would not see what a test replaces

settings.register_profile("steady", deadline=None)  # a busy machine is no failure
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*.txt; then review the diff")
