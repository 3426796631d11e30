"""A tiny PPM really learns to rank; accuracy is counted by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import TrainPpm
from rstar_core.errors import UserError
from rstar_core.policy.model import load_tokenizer
from rstar_core.ppm.model import load_ppm, new_ppm, save_ppm, score_batch
from rstar_core.ppm.packing import packed_hidden
from rstar_core.ppm.rendering import EncodedNode, encode_nodes
from rstar_core.training.loss import next_token_loss
from rstar_core.training.nodes import collate
from rstar_core.training.preferences import (
    PpmReport,
    pair_accuracy,
    ranking_accuracy,
    scores_of,
    train_ppm,
    with_enough_updates,
)
from rstar_core.types import PreferencePair, Question, Step, StepKind
from tests.unit.policy import tiny

TRAINING = tiny.TRAINING.model_copy(
    update={"epochs": 6, "batch_size": 8, "learning_rate": 5e-3, "schedule": "linear", "max_length": 40}
)
PARAMS = TrainPpm(
    training=TRAINING,
    token_weight=0.0,
    lm_weight=0.0,
    extra_layers=0,
    frozen_layers=0,
    min_updates=0,
    loss_scale=1.0,
    control=0.0,
)


def question(number: int) -> Question:
    return Question(f"p{number}", f"What is {number % 10} + 3?")


def inner(number: int, word: str) -> list[PreferencePair]:
    """Steps that multiply are right and steps that add are wrong, whatever the question."""
    good, bad = ([(Step(StepKind.CODE, f"n = n {sign} {word}{i}"),) for i in (1, 2)] for sign in "*+")
    return [PreferencePair(f"p{number}", "0/0", (), chosen, rejected) for chosen in good for rejected in bad]


def whole(number: int) -> PreferencePair:
    good, bad = ((Step(StepKind.CODE_END, f"n {sign}"), Step(StepKind.ANSWER, "\\boxed{5}")) for sign in "*+")
    return PreferencePair(f"p{number}", "final", (), good, bad)


def nodes_of(tokenizer: Any, pairs: list[PreferencePair]) -> list[EncodedNode]:
    questions = {f"p{n}": question(n) for n in range(100)}
    return encode_nodes(tokenizer, questions, pairs, TRAINING.max_length)


@pytest.fixture(scope="module")
def trained(policy: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, PpmReport]:
    model = new_ppm(policy, "float32", seed=3)
    pairs = [pair for number in range(32) for pair in (*inner(number, ""), whole(number))]
    held_out = [pair for number in range(40, 48) for pair in (*inner(number, "1"), whole(number))]
    nodes, validation = nodes_of(tokenizer, pairs), nodes_of(tokenizer, held_out)
    return model, train_ppm(model, tokenizer, nodes, validation, PARAMS, 5, tmp_path_factory.mktemp("scratch"))


def test_it_learns_to_prefer_the_chosen_on_problems_it_has_not_seen(trained: tuple[Any, PpmReport]) -> None:
    report = trained[1]
    assert report.at_end.all is not None and report.at_end.all >= 0.95
    assert report.at_end.step is not None and report.at_end.final is not None
    losses = [row["loss"] for row in report.training.curve]
    assert losses[0] == pytest.approx(0.69, abs=0.05) and losses[-1] < 0.3


def test_the_report_counts_pairs(trained: tuple[Any, PpmReport]) -> None:
    report = trained[1]
    assert report.training.num_examples == 32 * 5
    assert report.training.num_tokens > 0 and report.training.tokens_per_second > 0


def test_the_curve_rises_in_steps_to_the_last_epoch(trained: tuple[Any, PpmReport]) -> None:
    curve = trained[1].training.curve
    assert set(curve[0]) == {"step", "epoch", "loss", "learning_rate"}
    assert [row["step"] for row in curve] == sorted({row["step"] for row in curve})


def test_a_trained_ppm_reloads_with_the_same_scores(
    trained: tuple[Any, PpmReport], tokenizer: Any, tmp_path: Path
) -> None:
    model = trained[0]
    rows = [list(row) for row in nodes_of(tokenizer, inner(60, ""))[0].rows]
    save_ppm(model, tokenizer, tmp_path)
    again = load_ppm(tmp_path, "float32")
    assert score_batch(again, tokenizer.pad_token_id, rows) == score_batch(model, tokenizer.pad_token_id, rows)


@pytest.mark.slow
def test_the_same_seed_trains_the_same_ppm(policy: Path, tokenizer: Any, tmp_path: Path) -> None:
    nodes = nodes_of(tokenizer, [pair for number in range(4) for pair in inner(number, "")])
    one_epoch = TRAINING.model_copy(update={"epochs": 1})
    short = PARAMS.model_copy(update={"training": one_epoch, "token_weight": 0.5, "lm_weight": 0.5, "extra_layers": 1})

    def scores() -> list[float]:
        model = new_ppm(policy, "float32", seed=3, extra_layers=1)
        train_ppm(model, tokenizer, nodes, [], short, 5, tmp_path)
        return score_batch(model.eval(), tokenizer.pad_token_id, [list(row) for row in nodes[0].rows])

    assert scores() == scores()


class Killed(BaseException):
    pass


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_ppm(
    policy: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    monkeypatch.setenv("RSTAR_CHECKPOINT_S", "0")
    real, left = Trainer.training_step, [999]

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(self, *args, **kwargs)

    def run(scratch: str) -> tuple[list[float], PpmReport]:
        (tmp_path / scratch).mkdir(exist_ok=True)
        model = new_ppm(policy, "float32", seed=3)
        report = train_ppm(model, tokenizer, nodes, nodes, PARAMS, 5, tmp_path / scratch)
        return score_batch(model.eval(), tokenizer.pad_token_id, [list(row) for row in nodes[0].rows]), report

    monkeypatch.setattr(Trainer, "training_step", step)
    nodes = nodes_of(tokenizer, [pair for number in range(20) for pair in inner(number, "")])
    scores, whole = run("whole")
    for lives in (7, 6):  # 18 steps in all
        left[0] = lives
        with pytest.raises(Killed):
            run("again")
    assert [path.name for path in (tmp_path / "again").glob("checkpoint-*")] == ["checkpoint-10"]
    left[0] = 8
    again, report = run("again")
    assert again == scores
    assert report.at_end == whole.at_end
    assert report.training.curve == whole.training.curve


@pytest.mark.slow
def test_with_an_lm_weight_it_still_writes_what_was_chosen(policy: Path, tokenizer: Any, tmp_path: Path) -> None:
    nodes = nodes_of(tokenizer, [pair for number in range(32) for pair in inner(number, "")])

    def surprise(lm_weight: float) -> float:
        model = new_ppm(policy, "float32", seed=3)
        (scratch := tmp_path / str(lm_weight)).mkdir()
        params = PARAMS.model_copy(update={"lm_weight": lm_weight})
        report = train_ppm(model, tokenizer, nodes, nodes, params, 5, scratch)
        assert report.at_end.all is not None and report.at_end.all >= 0.95
        rows = [{"nodes": [{"rows": node.rows, "pairs": node.pairs}]} for node in nodes]
        batch = collate(rows, tokenizer.pad_token_id)
        hidden = packed_hidden(model, batch)[*batch["before"]]
        return float(next_token_loss(hidden, model.get_input_embeddings().weight, batch["following"]).detach())

    assert surprise(1.0) < 0.5 * surprise(0.0)


def test_a_model_with_two_embeddings_needs_an_lm_weight_of_zero(policy: Path, tokenizer: Any, tmp_path: Path) -> None:
    model = new_ppm(policy, "float32")
    model.config.tie_word_embeddings = False
    params = PARAMS.model_copy(update={"lm_weight": 0.1})
    with pytest.raises(UserError, match="set it to 0"):
        train_ppm(model, tokenizer, nodes_of(tokenizer, inner(1, "")), [], params, 5, tmp_path)


def test_no_validation_pairs_have_no_accuracy(policy: Path, tokenizer: Any) -> None:
    accuracy = pair_accuracy(new_ppm(policy, "float32"), tokenizer.pad_token_id, [])
    assert (accuracy.all, accuracy.step, accuracy.final) == (None, None, None)


def test_nothing_that_fits_is_the_users_to_mend(policy: Path, tokenizer: Any, tmp_path: Path) -> None:
    nodes = nodes_of(tokenizer, inner(1, "9" * 40))
    with pytest.raises(UserError, match="max_length=40"):
        train_ppm(new_ppm(policy, "float32"), tokenizer, nodes, [], PARAMS, 5, tmp_path)


def test_a_round_of_few_pairs_is_trained_for_more_epochs() -> None:
    """100 nodes are 13 steps of 8: 27 epochs are the first with 350."""
    assert with_enough_updates(TRAINING, 100, 350).epochs == 27
    assert with_enough_updates(TRAINING, 100, 20).epochs == with_enough_updates(TRAINING, 100, 0).epochs == 6


def test_accuracy_counts_pairs_not_nodes() -> None:
    """The first node has 1 of 4 pairs right, the second 1 of 1."""
    first = EncodedNode(rows=((2,), (5, 0, 0), (4, 0), (5,)), pairs=((0, 2), (0, 3), (1, 2), (1, 3)), is_final=False)
    second = EncodedNode(rows=((9,), (8,)), pairs=((0, 1),), is_final=True)
    accuracy = ranking_accuracy([first, second], [[2, 5, 4, 5], [9, 8]])
    assert (accuracy.all, accuracy.step, accuracy.final) == (0.4, 0.25, 1.0)


def test_scores_are_those_of_each_text_alone(policy: Path) -> None:
    model, pad_id = new_ppm(policy, "float32").eval(), load_tokenizer(policy).pad_token_id
    groups: Any = [[(5, 6, 7), (5, 6, 8, 9)], [(7, 8)], [(5, 9, 6, 6, 6), (5, 9), (5, 9, 6, 7)]]
    expected = [[score_batch(model, pad_id, [list(text)])[0] for text in texts] for texts in groups]
    found = scores_of(model, pad_id, groups)
    assert [len(its) for its in found] == [2, 1, 3]
    for its, alone in zip(found, expected, strict=True):
        assert its == pytest.approx(alone, abs=1e-5)
