"""A training in this process, or handed over to a launcher's processes (``RSTAR_TRAINER``), which train and no more.

This process holds the lock, and it alone publishes and tracks. It leaves model, rows and plan in the scratch folder,
starts ``<launcher> -m rstar_core.training.launched FOLDER``, and takes the trained weights from there. All processes
see that folder: on several machines it lies on a file system that they share.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstar_core.config import Training, TrainPpm
from rstar_core.errors import UserError
from rstar_core.io import read_json, write_json
from rstar_core.machine.parent_death import asked_to_end_with_parent, die_with_parent
from rstar_core.machine.variables import TRAINER
from rstar_core.training.checkpoints import FinishedTraining, train_on
from rstar_core.training.lora import adapted
from rstar_core.training.trainers import Plan, trainer_of

LOG = Path("run/trainer.log")
_GRACE = 30.0  # seconds between asking a launcher to end and making it
_HANDED, _TRAINED = "handed", "trained"  # folders of the scratch folder
_DONE = "finished.json"  # in the second of them, written last


def fit(model: Any, tokenizer: Any, rows: Any, plan: Plan) -> FinishedTraining:
    """Train ``model`` in place on the dataset ``rows``; see ``trainers.trainer_of``.

    It is trained in float32 (on GPUs with passes in bfloat16) and left in the precision that it came in: steps of a
    small learning rate are below what bfloat16 can add.

    Raises:
        UserError: a loss is no number, or the launcher's processes have ended without a model.
    """
    dtype = model.dtype
    run = _fit(model.float(), tokenizer, rows, plan)
    model.to(dtype)
    return run


def _fit(model: Any, tokenizer: Any, rows: Any, plan: Plan) -> FinishedTraining:
    launcher = TRAINER.get()
    if not launcher:
        with adapted(model, plan.training.lora, plan.seed):
            return train_on(trainer_of(model, tokenizer, rows, plan), plan.scratch)
    trained = plan.scratch / _TRAINED
    if not (trained / _DONE).exists():
        _hand_over(model, tokenizer, rows, plan)
        _launch(launcher, plan)
    model.load_state_dict(_read_model(trained, plan).state_dict())
    return FinishedTraining(**read_json(trained / _DONE))


def _hand_over(model: Any, tokenizer: Any, rows: Any, plan: Plan) -> None:
    from datasets import disable_progress_bars

    disable_progress_bars()
    folder = plan.scratch / _HANDED
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    rows.save_to_disk(folder / "rows")
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    sections = {"training": plan.training.model_dump(), "ppm": plan.ppm and plan.ppm.model_dump()}
    write_json(folder / "plan.json", {"name": plan.name, "seed": plan.seed, "frozen": frozen, **sections})


def _launch(launcher: Sequence[str], plan: Plan) -> None:
    """Run the launcher to its end; its processes' progress is told, and all that they say is in ``LOG``."""
    complaint = ""
    LOG.parent.mkdir(exist_ok=True)
    with _running([*launcher, "-m", __spec__.name, str(plan.scratch)]) as process, LOG.open("a") as log:
        for line in process.stdout or ():
            log.write(line)
            if line.startswith(f"{plan.name}: "):
                print(line, end="", file=sys.stderr, flush=True)
            elif line.startswith("error: "):
                complaint = complaint or line.removeprefix("error: ").strip()
        code = process.wait()
    if code:
        said = complaint or f"it ended with exit code {code}; what it said is in {LOG}"
        raise UserError(f"RSTAR_TRAINER: {said}; the same command goes on from the last checkpoint")


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """The command in a session of its own, which ends with the context, however it ends."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=asked_to_end_with_parent,
        )
    except OSError as error:
        raise UserError(f"RSTAR_TRAINER: {command[0]} can't be run: {error.strerror}") from None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# --- one of the launcher's processes --------------------------------------------------------------------------


def main(scratch: Path) -> int:
    die_with_parent()
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        _train(scratch)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def _train(scratch: Path) -> None:
    from datasets import load_from_disk

    from rstar_core.policy.model import load_tokenizer

    folder = scratch / _HANDED
    said = read_json(folder / "plan.json")
    ppm = TrainPpm.model_validate(said["ppm"]) if said["ppm"] else None
    plan = Plan(said["name"], Training.model_validate(said["training"]), said["seed"], scratch, ppm)
    model = _read_model(folder, plan)
    for name in said["frozen"]:
        model.get_parameter(name).requires_grad_(False)
    with adapted(model, plan.training.lora, plan.seed):
        trainer = trainer_of(model, load_tokenizer(folder), load_from_disk(str(folder / "rows")), plan)
        run = train_on(trainer, scratch)
    trainer.save_model(str(scratch / _TRAINED))  # by all, for each may hold a part of it
    if trainer.is_world_process_zero():
        write_json(scratch / _TRAINED / _DONE, json.loads(json.dumps(asdict(run))))


def _read_model(folder: Path, plan: Plan) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from rstar_core.policy.model import read_weights

    kind = AutoModelForCausalLM if plan.ppm is None else AutoModelForSequenceClassification
    return read_weights(kind, folder, "float32", plan.name)[0]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
