"""How much float32 and batching move what is drawn from, and a PPM's scores.

The margins that engines/local/decode.py and reward.py leave are to be far above.

    python -m benchmarks.precision artifacts/r1/policy artifacts/problems/benchmark.parquet [num_problems]
    python -m benchmarks.precision artifacts/r1/ppm artifacts/problems/benchmark.parquet [num_problems]

Every row of every step of a batched decoding in float32, against the row alone in float64; or the scores of prompts
that share passes, padded, against each alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from rstar_core.engines.base import Sampling
from rstar_core.engines.encoding import encoder, stop_ids
from rstar_core.engines.local import reward as local_reward
from rstar_core.engines.local.decode import _BORDER, _CLOSE, Decoder, Request
from rstar_core.engines.local.kv import PrefixStore
from rstar_core.io import read_json, read_problems
from rstar_core.policy.model import load_model, load_tokenizer
from rstar_core.ppm.model import load_ppm, score_batch
from rstar_core.ppm.rendering import encode_steps
from rstar_core.types import Question


def main(model: Path, problems: Path, num_problems: int) -> None:
    questions = [problem.question for problem in read_problems(problems)]
    some = questions[:: max(1, len(questions) // num_problems)]
    (scores if is_ppm(model) else draws)(model, some)


def is_ppm(model: Path) -> bool:
    return "SequenceClassification" in str(read_json(model / "config.json")["architectures"])


def scores(ppm: Path, questions: Sequence[Question]) -> None:
    tokenizer = load_tokenizer(ppm)
    fast, exact = (load_ppm(ppm, dtype).eval() for dtype in ("float32", "float64"))
    rows = [encode_steps(tokenizer, question, ()) for question in questions]
    batched = score_batch(fast, tokenizer.pad_token_id, rows)
    alone = [score_batch(exact, tokenizer.pad_token_id, [row])[0] for row in rows]
    worst = max(abs(one - other) for one, other in zip(alone, batched, strict=True))
    print(f"{len(rows)} scores: they differ by up to {worst:.1e} (margin {local_reward._BORDER:.0e})")


def draws(policy: Path, questions: Sequence[Question]) -> None:
    tokenizer, encode = load_tokenizer(policy), encoder(load_tokenizer(policy))
    fast, exact = (load_model(policy, dtype).eval() for dtype in ("float32", "float64"))
    sampling = Sampling(1.0, 1.0, 48)
    decoder = Decoder(fast, stop_ids(tokenizer), sampling, PrefixStore(1 << 30), 1 << 20, exact)
    worst_border = worst_logit = 0.0
    num_rows = 0
    with torch.inference_mode():
        decoder.admit([Request(number, encode(question, ()), 4, number) for number, question in enumerate(questions)])
        while decoder.num_live:
            alone = torch.stack([decoder._read_alone(members[0]) for members in decoder._members])
            batched = decoder._logits[: len(alone)]
            cdfs = (torch.softmax(logits, -1).cumsum(-1) for logits in (alone, batched))
            worst_border = max(worst_border, float((next(cdfs) - next(cdfs)).abs().max()))
            worst_logit = max(worst_logit, float((alone - batched).abs().max()))
            num_rows += len(alone)
            decoder.step()
    print(
        f"{num_rows} distributions: cumulative probabilities differ by up to {worst_border:.1e} (margin {_BORDER:.0e})"
    )
    print(f"logits by up to {worst_logit:.1e} (margin {_CLOSE:.0e} between two)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="a policy's folder")
    parser.add_argument("problems", type=Path, help="Parquet, such as artifacts/problems/benchmark.parquet")
    parser.add_argument("number", type=int, nargs="?", default=100, help="of problems (default: 100)")
    given = parser.parse_args()
    main(given.model, given.problems, given.number)
