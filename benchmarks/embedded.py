"""How much of the machine trainings, engine ``local`` and sandbox use: each beside a plain loop and the physical limit.

``python -m benchmarks.embedded --round r0`` in a folder where that round has run. Training: tokens/s of our trainer, of
a plain loop over the same batches, and of matrix products alone (as wide as the model's, 6 operations for each weight
and token). Decoding: tokens/s of the engine, of transformers' ``generate``, and of matrix products (2 operations).
Steps: runs/s of plain steps in the sandbox, of a process each, and of a bare ``exec``. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rstar_core.config import Params, load_params
from rstar_core.io import read_problems, read_sft_examples
from rstar_core.policy.model import load_model, load_tokenizer
from rstar_core.policy.rendering import encode_example
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.types import Question

Figures = dict[str, float]
NUM_STEPS = 200  # of training
NUM_PROGRAMS, NUM_RUNS = 40, 20  # problems, and steps of each


def timed(work: Callable[[], float]) -> float:
    """What ``work`` returns, by the second."""
    started = time.perf_counter()
    return work() / (time.perf_counter() - started)


# --- the limit ------------------------------------------------------------------------------------------------


def flops(width: int, dtype: Any) -> float:
    """Operations a second of products of matrices as wide as the model's, with torch's threads."""
    import torch

    first, second = torch.randn(512, width, dtype=dtype), torch.randn(width, 4 * width, dtype=dtype)

    def work() -> float:
        for _ in range(400):
            first @ second
        return 400 * 2 * 512 * width * 4 * width

    work()
    return max(timed(work) for _ in range(3))


# --- training -------------------------------------------------------------------------------------------------


def training(params: Params, folder: Path) -> Figures:
    from rstar_core.training.sft import train_policy

    tokenizer = load_tokenizer(folder / "policy")
    examples = [
        encode_example(tokenizer, one.question, one.steps) for one in read_sft_examples(folder / "sft/train.parquet")
    ]
    its = params.train_policy.training
    some = examples[: NUM_STEPS * its.batch_size]
    num_tokens = sum(len(one["input_ids"]) for one in some)
    model = load_model(folder / "policy", "float32")
    limit = flops(model.config.hidden_size, model.dtype) / (6 * model.num_parameters())
    plain = timed(lambda: plain_training(model, some, its.batch_size, its.learning_rate) or num_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        once = its.model_copy(update={"epochs": 1})
        report = train_policy(load_model(folder / "policy", "float32"), tokenizer, some, once, 0, Path(scratch))
    return {"ours": report.tokens_per_second, "plain loop": plain, "limit": limit}


def plain_training(model: Any, examples: Sequence[dict[str, list[int]]], batch_size: int, rate: float) -> None:
    import torch
    from torch.nn.functional import cross_entropy

    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        width = max(len(one["input_ids"]) for one in batch)
        ids = torch.tensor([[*one["input_ids"], *[0] * (width - len(one["input_ids"]))] for one in batch])
        counts = torch.tensor(
            [[*one["completion_mask"], *[0] * (width - len(one["input_ids"]))] for one in batch]
        ).bool()
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        cross_entropy(logits[counts[:, 1:]], ids[:, 1:][counts[:, 1:]]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()


# --- decoding -------------------------------------------------------------------------------------------------


def decoding(params: Params, folder: Path, questions: Sequence[Question]) -> Figures:
    """One step of each question, greedy."""
    from rstar_core.engines.local.models import load_local

    tokenizer, models = load_tokenizer(folder / "policy"), load_local(folder / "policy", params.engine)
    model, max_tokens = models.model, params.search.max_step_tokens
    engine = models.policy(0.0, 1.0, max_tokens)
    limit = flops(model.config.hidden_size, model.dtype) / (2 * model.num_parameters())

    async def work() -> float:
        async with models:
            found = await asyncio.gather(*(engine.propose(one, (), num_candidates=1, seed=0) for one in questions))
        return float(sum(one.num_tokens for (one,) in found))

    ours = timed(lambda: asyncio.run(work()))
    return {
        "ours": ours,
        "plain loop": timed(lambda: plain_decoding(model, tokenizer, questions, max_tokens)),
        "limit": limit,
    }


def plain_decoding(model: Any, tokenizer: Any, questions: Sequence[Question], max_tokens: int) -> float:
    """Transformers' ``generate``, the same number of tokens for all: those after a row's stop are not counted."""
    import torch

    from rstar_core.cot.prompt import zero_shot
    from rstar_core.engines.encoding import stop_ids

    tokenizer.padding_side = "left"
    batch = tokenizer(
        [tokenizer.bos_token + zero_shot(one, ()) for one in questions], padding=True, return_tensors="pt"
    )
    stops = stop_ids(tokenizer)
    with torch.inference_mode():
        made = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False,
            max_new_tokens=max_tokens, eos_token_id=list(stops), pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    return float((made[:, batch["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())


# --- steps ----------------------------------------------------------------------------------------------------


def steps(params: Params) -> Figures:
    def code(number: int) -> str:
        return f"# Monday: finds {number} more\nn = n + {number}"

    async def in_sandbox(has_problems: bool, num_programs: int) -> float:
        async with ForkSandbox(params.sandbox, libraries=()) as box:
            await box.run([], "n = 1", "warm")
            started = time.perf_counter()
            runs = (
                box.run(["n = 1"], code(number), f"{problem}" if has_problems else "")
                for problem in range(num_programs)
                for number in range(NUM_RUNS)
            )
            await asyncio.gather(*runs)
            return num_programs * NUM_RUNS / (time.perf_counter() - started)

    def bare() -> float:
        for number in range(NUM_PROGRAMS * NUM_RUNS):
            names: dict[str, Any] = {}
            exec("n = 1", names)
            exec(code(number), names)
        return NUM_PROGRAMS * NUM_RUNS

    ours, alone = asyncio.run(in_sandbox(True, NUM_PROGRAMS)), asyncio.run(in_sandbox(False, NUM_PROGRAMS // 4))
    return {"ours": ours, "a process each": alone, "limit": timed(bare)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--round", default="r0")
    parser.add_argument("--problems", type=int, default=200)
    given = parser.parse_args()
    params, folder = load_params(), Path("artifacts") / given.round
    questions = [problem.question for problem in read_problems("artifacts/problems/train.parquet")[: given.problems]]
    figures = {
        "training, tokens/s": training(params, folder),
        "decoding, tokens/s": decoding(params, folder, questions),
        "plain steps, runs/s": steps(params),
    }
    for name, its in figures.items():
        rates = ", ".join(f"{what} {rate:,.0f}" for what, rate in its.items())
        print(f"{name:20} {rates}; ours / limit {its['ours'] / its['limit']:.2f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
