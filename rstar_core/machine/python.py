"""Whether this interpreter is the one that the project was installed for. Any Python 3 can load this."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec

from rstar_core.errors import UserError

OLDEST = (3, 11)
MEND = "source .venv/bin/activate (make env makes it), then the same command"


def check_environment(packages: Iterable[str]) -> None:
    """Raises UserError where Python is too old or one of ``packages`` is not installed; nothing is imported."""
    if sys.version_info < OLDEST:
        raise UserError(f"{sys.executable} is Python {sys.version.split()[0]}, too old for the project; {MEND}")
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(f"{sys.executable} has no {', '.join(missing)}: it is not the project's Python; {MEND}")
