"""Policy and PPM in this process, from their folders, on a GPU where torch sees one."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rstar_core.config import Engine, Search
from rstar_core.engines.base import PolicyEngine, RewardEngine, ZeroReward
from rstar_core.engines.capacity import max_batch_tokens, max_store_bytes
from rstar_core.errors import UserError
from rstar_core.machine.threads import let_threads_sleep
from rstar_core.ppm.model import load_ppm


@dataclass(frozen=True, slots=True)
class LocalModels:
    """A policy loaded once, from which engines with different sampling are made. They share one worker thread."""

    model: Any
    exact: Any  # the same in float64, where samples are to be independent of what shares their batch
    tokenizer: Any
    store: Any
    worker: Executor
    engine: Engine

    def policy(self, temperature: float, top_p: float, max_step_tokens: int) -> PolicyEngine:
        from rstar_core.engines.base import Sampling
        from rstar_core.engines.local.kv import PrefixStore
        from rstar_core.engines.local.policy import LocalPolicy

        sampling = Sampling(temperature, top_p, max_step_tokens)
        if self.exact is not None and top_p < 1:  # a nucleus has borders of its own, which only the exact model knows
            store, room = PrefixStore(max_store_bytes()), max_batch_tokens(self.exact)
            return LocalPolicy(self.exact, self.tokenizer, sampling, store, room, self.worker)
        room = max_batch_tokens(self.model)
        return LocalPolicy(self.model, self.tokenizer, sampling, self.store, room, self.worker, self.exact)

    def sampler(self, search: Search) -> PolicyEngine:
        return self.policy(search.temperature, search.top_p, search.max_step_tokens)

    def guide(self, kind: Literal["terminal", "ppm"], ppm: Path) -> RewardEngine:
        if kind == "terminal":
            return ZeroReward()
        from rstar_core.engines.local.kv import PrefixStore
        from rstar_core.engines.local.reward import LocalReward

        exact = _ready(load_ppm(ppm, "float64")) if self.exact is not None else None
        model = _ready(load_ppm(ppm, "float32" if exact else self.engine.dtype))
        store = PrefixStore(max_store_bytes())
        return LocalReward(model, self.tokenizer, store, max_batch_tokens(model), self.worker, exact)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.worker.shutdown(wait=False)


def load_local(folder: Path, engine: Engine) -> LocalModels:
    """As ``load_policy``, in this process."""
    let_threads_sleep()
    from rstar_core.engines.local.kv import PrefixStore
    from rstar_core.policy.card import read_policy_card
    from rstar_core.policy.model import load_model, load_tokenizer

    card = read_policy_card(folder)
    if card.reference is not None:
        raise UserError(f"{folder}: a few-shot policy, which engine '{engine.kind}' can't sample from; use 'vllm'")
    store = PrefixStore(max_store_bytes())
    worker = ThreadPoolExecutor(1, thread_name_prefix="model")
    exact = _ready(load_model(folder, "float64")) if engine.dtype == "float64" else None
    model = _ready(load_model(folder, "float32" if exact else engine.dtype))
    return LocalModels(model, exact, load_tokenizer(folder), store, worker, engine)


def _ready(model: Any) -> Any:
    from rstar_core.policy.model import best_device

    return model.to(best_device()).eval()


def load_libraries() -> None:
    """Load what a model of the embedded architecture needs; nothing computes yet."""
    let_threads_sleep()
    from transformers.models.llama import modeling_llama  # noqa: F401


def use_threads(number: int) -> None:
    """So many threads compute in this process from now on."""
    import torch

    torch.set_num_threads(number)


def share_threads(num_processes: int) -> None:
    """This process and those that it is copied to, ``num_processes`` in all, have as many threads as it has now."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))
