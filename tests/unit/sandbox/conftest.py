from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.shell import EVERY_SNAPSHOT, Shell, open_shell


@pytest.fixture(scope="package")
def shell() -> Iterator[Shell]:
    with open_shell(budget=EVERY_SNAPSHOT) as opened:
        yield opened
