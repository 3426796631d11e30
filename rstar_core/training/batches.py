"""One batch shared out over processes and passes: ``batch_size`` is the science, the rest is the machine's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

from rstar_core.machine.variables import MICRO_BATCH


@dataclass(frozen=True, slots=True)
class Shared:
    """A batch of ``size`` rows as ``num_passes`` passes of ``micro`` rows in each of ``num_processes``."""

    size: int
    num_processes: int
    micro: int
    num_passes: int

    @property
    def num_places(self) -> int:
        """Rows that all passes hold together; those beyond ``size`` are empty."""
        return self.num_processes * self.micro * self.num_passes

    @property
    def is_one_pass(self) -> bool:
        return self.num_processes * self.num_passes == 1


def shared_out(size: int) -> Shared:
    """As RSTAR_MICRO_BATCH and the launcher have it; without them a batch is one pass of one process."""
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = min(MICRO_BATCH.get() or size, ceil(size / num_processes))
    return Shared(size, num_processes, micro, ceil(size / (num_processes * micro)))


def sharing(base: type, shared: Shared, seed: int) -> type:
    """transformers' trainer ``base``, which takes each batch in the passes of ``shared``.

    Every step has the rows that it has in one pass, and all processes have as many passes: where rows do not suffice,
    in a batch that cannot be shared out evenly and in the last one of an epoch, ``empty`` ones fill up.
    """
    if shared.is_one_pass:
        return base

    class SharingTrainer(base):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            rows = self.train_dataset if train_dataset is None else train_dataset
            return _sampler(shared, len(rows) - 1, seed, lambda: int(self.state.epoch or 0))

    return SharingTrainer


def with_empty(rows: Any, empty: dict[str, Any], shared: Shared) -> Any:
    """The dataset ``rows``, and last the row that fills up (see ``sharing``), which must carry no loss."""
    from datasets import Dataset, concatenate_datasets

    if shared.is_one_pass:
        return rows
    return concatenate_datasets([rows, Dataset.from_list([empty], features=rows.features)])


def _sampler(shared: Shared, num_rows: int, seed: int, epoch: Callable[[], int]) -> Any:
    """Row numbers of an epoch, shuffled as accelerate shuffles them in one process; ``num_rows`` is the empty row's.

    The epoch is asked for: in a training of several processes that goes on within one, the library does not say it.
    """
    from accelerate.data_loader import SeedableRandomSampler
    from torch import Generator
    from torch.utils.data import Sampler

    class Batches(Sampler):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rows = SeedableRandomSampler(range(num_rows), generator=Generator(), data_seed=seed)

        def __len__(self) -> int:
            return ceil(num_rows / shared.size) * shared.num_places

        def __iter__(self) -> Iterator[int]:
            self._rows.set_epoch(epoch())
            rows = list(self._rows)
            for first in range(0, num_rows, shared.size):
                batch = rows[first : first + shared.size]
                yield from batch + [num_rows] * (shared.num_places - len(batch))

    return Batches()
