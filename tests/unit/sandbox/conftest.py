from __future__ import annotations

from collections.abc import Iterator

import pytest

from rstar_core.sandbox.server import LIBRARIES
from tests.unit.sandbox.shell import EVERY_SNAPSHOT, Shell, open_shell


@pytest.fixture(scope="package")
def shell() -> Iterator[Shell]:
    with open_shell(budget=EVERY_SNAPSHOT, libraries=LIBRARIES) as opened:
        yield opened
