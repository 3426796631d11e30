from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rstar_core.answers.warm import GraderSandbox
from tests.unit.answers.bench import Bench


@pytest.fixture(scope="package")
def bench() -> Iterator[Bench]:
    """Graders with math-verify in its real sandbox."""
    with asyncio.Runner() as runner:
        sandbox = GraderSandbox()
        yield Bench(runner, sandbox)
        runner.run(sandbox.__aexit__(None, None, None))
