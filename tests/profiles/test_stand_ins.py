"""The profiles for GPUs, all rounds through real Prefect and DVC: a random tiny Qwen2 model in the place of theirs.

Everything that a profile says stays but the names of models, the problems, and how wide and how often it searches.
``make test-profiles`` (minutes).
"""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_round import ENVIRONMENT, copy_project

ROOT = Path(__file__).parents[2]
LIMIT_S = 900
pytestmark = [pytest.mark.profiles, pytest.mark.timeout(LIMIT_S + 60)]
TWO = shlex.join([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])


@pytest.mark.parametrize(("profile", "trainer"), [("paper", TWO), ("released", ""), ("single-gpu", "")])
def test_a_profile_goes_through_all_rounds(profile: str, trainer: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    copy_project(project)
    params = yaml.safe_load((ROOT / f"infra/profiles/{profile}.yaml").read_text())
    (project / "params.yaml").write_text(yaml.safe_dump(small(params, project), sort_keys=False))
    log = evolve(project, {"RSTAR_VLLM_PYTHON": str(server_command(tmp_path)), "RSTAR_TRAINER": trainer})
    summary = json.loads((project / "artifacts/r4/summary.json").read_text())
    rows = {row["round_id"]: row for row in summary["rounds"]}
    assert list(rows) == ["r0", "r1", "r2", "r3", "r4"], log
    assert all(0 < rows[name]["coverage"]["all"] <= 1 for name in ("r1", "r2", "r3", "r4"))
    assert rows["r2"]["ppm_accuracy"] is not None and rows["r4"]["ppm_accuracy"] is not None
    assert rows["r4"]["num_pairs"] > 0 and rows["r4"]["pass@N"]["all"] > 0


def small(params: dict[str, Any], project: Path) -> dict[str, Any]:
    """``params`` for a machine without a GPU and some minutes."""
    for split, number in (("train", 16), ("benchmark", 8)):
        write_problems(project / f"{split}.jsonl", split, number)
    params["ingest"]["sources"] = [
        {"kind": "file", "split": split, "path": f"{split}.jsonl", "source": "small"}
        for split in ("train", "benchmark")
    ]
    make_model(project / "model")
    for role in ("policy", "base"):
        params["bootstrap"]["model"][role] = {"name": "model"}
    for one in params["rounds"].values():
        one |= {name: min(one[name], 4) for name in ("num_candidates", "num_rollouts", "extra_rollouts")}
    params["evaluate"] |= {"num_trees": 2, "num_candidates": 4, "num_rollouts": 2}
    params["gate"] = {"max_drop": 1.0, "min_ppm_margin": -1.0}  # nothing is learnt of guesses
    return params


def write_problems(path: Path, split: str, number: int) -> None:
    """One calculation each: what the stand-in's guesses can hit."""
    draw = random.Random(split)
    with path.open("w") as file:
        for place in range(number):
            first, second = draw.randrange(100, 999), draw.randrange(10, 99)
            sign, word, answer = draw.choice(
                [("+", "more come", first + second), ("-", "leave", first - second), ("x", "each hold", first * second)]
            )
            text = f"Of {first} things ({split} {sign}), this many {word}: {second}. What is the result?"
            file.write(json.dumps({"id": f"{split}/{place}", "problem": text, "answer": str(answer)}) + "\n")


def make_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    texts = (file.read_text() for file in sorted((ROOT / "rstar_core/cot").glob("*.py")))
    plain.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=512, num_key_value_heads=1, tie_word_embeddings=False, **sizes)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def server_command(folder: Path) -> Path:
    """What stands for the Python of vLLM's environment: it leaves ``-m`` and the module out."""
    made = folder / "python"
    made.write_text(
        f'#!/bin/sh\nshift 2\nexec {sys.executable} {Path(__file__).with_name("stand_in_server.py")} "$@"\n'
    )
    made.chmod(0o755)
    return made


def evolve(project: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.evolve"],
        cwd=project,
        env={**ENVIRONMENT, "PYTHONPATH": str(project), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stderr[-4000:], os.linesep)
    return done.stdout + done.stderr
