"""The stage bootstrap: which demonstrations count, and what each recipe publishes. Programs run in the real sandbox."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import Bootstrap, SandboxLimits, Seed
from rstar_core.errors import UserError
from rstar_core.io import digest, read_pairs, read_sft_examples, write_demonstrations
from rstar_core.policy.card import ModelSource, PolicyCard, read_policy_card
from rstar_core.policy.folder import load_base
from rstar_core.policy.model import load_model, load_tokenizer
from rstar_core.ppm.model import is_null_ppm
from rstar_core.types import Demonstration, Problem, Step, StepKind
from tasks.bootstrap import bootstrap
from tests.unit.policy.tiny import ARCHITECTURE, TRAINING, make_plain

LIMITS = SandboxLimits(wall_seconds=60.0, cpu_seconds=5, memory_mib=256, max_output_chars=200)
OUTPUTS = ("base", "policy", "ppm", "sft", "pairs")
APART = {"kept_apart": 0.0, "min_written_apart": 0.0}
FROM_SCRATCH = {
    "recipe": "from_scratch",
    **APART,
    "architecture": ARCHITECTURE.model_dump(),
    "training": TRAINING.model_dump(),
}


def finetune(base: Path) -> dict[str, Any]:
    return {"recipe": "finetune", "base": {"name": str(base)}, "training": TRAINING.model_dump(), **APART}


def demonstration(number: int, *code: str, answer: str | None = None, level: int = 1) -> Demonstration:
    text = f"Ann has {number} pens and gets {number} more. How many are there?"
    problem = Problem(f"p{number}", text, answer or str(2 * number), level, "toy", "MIT")
    return Demonstration(problem, code or (f"n = {number}", f"n = n + {number}\nprint(n)"))


GOOD = [demonstration(number, level=1 + number % 2) for number in range(1, 7)]


def run(folder: Path, recipe: dict[str, Any], demonstrations: list[Demonstration]) -> dict[str, Any]:
    write_demonstrations(folder / "demonstrations.parquet", demonstrations)
    return bootstrap(
        demonstrations=folder / "demonstrations.parquet",
        **{name: folder / name for name in OUTPUTS},
        curve=folder / "curves" / "bootstrap.csv",
        seed=Seed(1),
        bootstrap=Bootstrap.model_validate({"model": recipe}),
        sandbox=LIMITS,
    )


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves" / "bootstrap.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    make_plain(folder)
    return folder


def test_from_scratch_r0_is_the_base_model_too(tmp_path: Path) -> None:
    metrics = run(tmp_path, FROM_SCRATCH, GOOD)
    assert read_policy_card(tmp_path / "policy") == PolicyCard("zero_shot")
    assert digest(tmp_path / "policy") == digest(tmp_path / "base")
    assert load_model(tmp_path / "policy", "float32").num_parameters() == metrics["num_parameters"]
    assert len(load_tokenizer(tmp_path / "policy")) == metrics["vocab_size"] <= ARCHITECTURE.vocab_size
    assert (metrics["num_sft"], metrics["num_left_out_demonstrations"], metrics["num_left_out"]) == (6, 0, 0)
    assert metrics["num_tokens"] > 0 and metrics["timings"]["tokens/s"] > 0
    assert float(curve(tmp_path)[-1]["loss"]) == metrics["final_loss"]
    assert is_null_ppm(tmp_path / "ppm")
    assert [read_pairs(tmp_path / "pairs" / f"{name}.parquet") for name in ("train", "validation")] == [[], []]
    assert {path.name for path in tmp_path.iterdir()} == {*OUTPUTS, "curves", "demonstrations.parquet"}


def test_some_demonstrations_are_kept_apart_and_tell_how_many_r0_would_write(tmp_path: Path) -> None:
    metrics = run(tmp_path, {**FROM_SCRATCH, "kept_apart": 0.5}, GOOD)
    kept = {example.question.id for example in read_sft_examples(tmp_path / "sft" / "train.parquet")}
    assert (metrics["num_sft"], metrics["num_apart"]) == (len(kept), 6 - len(kept)) and 0 < len(kept) < 6
    assert metrics["written_apart"] == 0.0, "nobody learns this from so few"


def test_an_r0_that_has_understood_too_little_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"r0 would write 0% word for word .* less than .*min_written_apart, 50%"
    ) as said:
        run(tmp_path, {**FROM_SCRATCH, "kept_apart": 0.5, "min_written_apart": 0.5}, GOOD)
    assert "num_per_level" in str(said.value) and not (tmp_path / "policy").exists()


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for _ in range(2):
        run(tmp_path, FROM_SCRATCH, GOOD)
        digests.append([digest(tmp_path / name) for name in (*OUTPUTS, "curves")])
    assert digests[0] == digests[1]


def test_a_finetuned_policy_names_its_base_which_is_not_copied(tmp_path: Path, plain: Path) -> None:
    metrics = run(tmp_path, finetune(plain), GOOD)
    card = read_policy_card(tmp_path / "policy")
    assert card == PolicyCard("zero_shot", base=load_base(tmp_path / "base")[2])
    assert card.base is not None and (card.base.name, card.base.revision) == (str(plain), None)
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["policy.json"]
    assert load_model(tmp_path / "policy", "float32").num_parameters() == metrics["num_parameters"]


def test_few_shot_refers_to_both_models_and_trains_none(tmp_path: Path) -> None:
    sources = {name: {"name": f"hub/{name}", "revision": "0123abc"} for name in ("policy", "base")}
    metrics = run(tmp_path, {"recipe": "few_shot", **sources}, [])
    for name, prompt in (("policy", "two_shot"), ("base", "zero_shot")):
        assert read_policy_card(tmp_path / name) == PolicyCard(
            prompt,  # type: ignore[arg-type]
            reference=ModelSource(f"hub/{name}", "0123abc"),
        )
    assert read_sft_examples(tmp_path / "sft" / "train.parquet") == [] == curve(tmp_path)
    assert (metrics["num_sft"], metrics["num_tokens"], metrics["final_loss"]) == (0, None, None)
    assert json.loads(json.dumps(metrics)) == metrics


def test_all_recipes_have_the_same_metrics(tmp_path: Path) -> None:
    sources = {name: {"name": f"hub/{name}", "revision": "0123abc"} for name in ("policy", "base")}
    few_shot = run(tmp_path / "a", {"recipe": "few_shot", **sources}, GOOD[:1])
    from_scratch = run(tmp_path / "b", FROM_SCRATCH, GOOD[:1])
    assert few_shot.keys() == from_scratch.keys()


def test_steps_have_their_own_output(tmp_path: Path, plain: Path) -> None:
    talks = demonstration(1, "n = 1\nprint('one', n)", "n = n + 1\nprint(n)")
    run(tmp_path, finetune(plain), [talks, demonstration(4)])
    first, second = read_sft_examples(tmp_path / "sft" / "train.parquet")
    assert first.steps == (
        Step(StepKind.CODE, "n = 1\nprint('one', n)", "one 1\n"),
        Step(StepKind.CODE_END, "n = n + 1\nprint(n)", "2\n"),
        Step(StepKind.ANSWER, "\\boxed{2}"),
    )
    assert (first.origin, first.mean_q, first.question) == ("r0", 1.0, talks.problem.question)
    assert [step.output for step in second.steps] == ["", "8\n", ""]


def test_a_program_counts_only_if_it_prints_the_answer(
    tmp_path: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {
        "says another": ("n = 3", "print(n)"),
        "says nothing": ("print(22)", "n = 22"),
        "fails at its end": ("n = 4", "print(n / 0)"),
        "fails before": ("n = 1 / 0", "print(10)"),
    }
    wrong = [demonstration(10 + number, *code, answer="22") for number, code in enumerate(bad.values())]
    half = demonstration(20, "print(1 / 2)", answer="0.50")
    metrics = run(tmp_path, finetune(plain), [*wrong, *GOOD, half])
    kept = [one.question.id for one in read_sft_examples(tmp_path / "sft" / "train.parquet")]
    assert kept == [one.problem.id for one in [*GOOD, half]]
    assert (metrics["num_sft"], metrics["num_left_out_demonstrations"]) == (7, 4)
    assert (
        "left out 4 of 11 demonstrations: p10: prints '3', the answer is '22'; p11: prints '', the answer is '22'; "
        "p12: ZeroDivisionError: division by zero; ...\n"
    ) in capsys.readouterr().err


def test_the_card_counts_what_was_kept(tmp_path: Path, plain: Path) -> None:
    run(tmp_path, finetune(plain), [*GOOD, demonstration(9, "print(0)")])
    card = (tmp_path / "sft" / "card.md").read_text()
    facts = ["6 demonstrations", "1 others were left out", "- level 1: 3", "- level 2: 3", "- toy (MIT): 6"]
    assert [fact for fact in [*facts, digest(tmp_path / "demonstrations.parquet")] if fact not in card] == []


@pytest.mark.parametrize("demonstrations", [[], [demonstration(1, "print(7)")]], ids=["none", "none that counts"])
def test_training_without_a_demonstration_is_refused(tmp_path: Path, demonstrations: list[Demonstration]) -> None:
    with pytest.raises(UserError, match=r"recipe 'from_scratch' needs demonstrations .* add a source"):
        run(tmp_path, FROM_SCRATCH, demonstrations)
    assert [path.name for path in tmp_path.iterdir()] == ["demonstrations.parquet"]
