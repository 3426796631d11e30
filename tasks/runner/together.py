"""A search that several workers share: processes of this machine, or the nodes of a Ray cluster.

Each claims in the journal what it is about to make, so that nothing is made twice, and what the dead had claimed is
made by others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol

from rstar_core.config import Engine
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import JournalKey
from rstar_core.machine.variables import RAY_ADDRESS
from tasks.runner.processes import helped, num_processes


class Shared(Protocol):
    """What a worker has to know; it can be sent to another process and another machine."""

    @property
    def engine(self) -> Engine: ...

    @property
    def what(self) -> str:
        """Stage and round, for people."""
        ...

    def key(self) -> JournalKey:
        """The journal's."""
        ...

    def files(self) -> Sequence[Path]:
        """Files and folders that are read."""
        ...

    def num_trees(self) -> int | None:
        """How many there will be; None where that depends on the first of them."""
        ...

    def work(self, journal: Journal) -> str:
        """Have all trees in ``journal``, together with the others; the isolation that their code ran under."""
        ...


def do_together(shared: Shared, journal: Journal) -> str:
    """Have all trees in ``journal``; see ``Shared.work``.

    Raises:
        UserError: what a worker cannot mend.
    """
    if RAY_ADDRESS.get():
        from tasks.runner.crew import by_nodes

        return by_nodes(shared, journal)
    with helped(partial(_help, shared), num_processes(shared.engine) - 1):
        return shared.work(journal)


def _help(shared: Shared) -> None:
    with closing(open_journal(shared.key())) as journal:
        shared.work(journal)
