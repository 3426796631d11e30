"""Runs a round's stages in forked processes that are cheap to kill: the libraries are loaded once, in the parent.

Reads a folder a line; answers with the process id of a new process that works
there, and after one more line with its exit code. The stages, their flags and their order are those of dvc.yaml; as
under DVC, a stage whose metrics file is there is done, and the outputs of one that is not are removed before it runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from rstar_core.machine.parent_death import die_with_parent

ROOT = Path(__file__).parents[2]
STAGES = """ingest bootstrap evaluate_r0 summarize_r0 synthesize verify curate train_policy train_ppm evaluate
summarize""".split()


def commands() -> Iterator[tuple[str, list[str], list[Path]]]:
    """Name, arguments of ``python -m tasks`` and outputs of each stage of round r1, from dvc.yaml."""
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in STAGES:
        stage = graph[name].get("do", graph[name])
        text = yaml.safe_dump(stage).replace("${key}", "r1").replace("${item.from}", "r0")
        stage = yaml.safe_load(text)
        made = [
            next(iter(out)) if isinstance(out, dict) else out for key in ("outs", "plots") for out in stage.get(key, [])
        ]
        yield name, stage["cmd"].split()[4:], [Path(path) for path in made]


def work() -> int:
    """The exit code of the first stage that does not end well."""
    from tasks.__main__ import main

    for name, arguments, outputs in commands():
        metrics = Path(arguments[arguments.index("--metrics") + 1])
        if metrics.exists():
            continue
        remove(outputs)
        Path("now").write_text(f"{name} {time.monotonic()}")
        if code := main(arguments):
            return code
    Path("now").unlink(missing_ok=True)
    return 0


def remove(outputs: Iterable[Path]) -> None:
    for path in outputs:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def preload() -> None:
    """What the stages import; nothing is run, for a thread would not survive the fork."""
    import datasets  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import transformers  # noqa: F401
    import trl.trainer.reward_trainer
    import trl.trainer.sft_trainer  # noqa: F401

    import tasks.bootstrap
    import tasks.curate
    import tasks.evaluate
    import tasks.ingest
    import tasks.summarize
    import tasks.synthesize
    import tasks.train_policy
    import tasks.train_ppm
    import tasks.verify  # noqa: F401


def main() -> None:
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        folder = line.strip()
        child = os.fork()
        if not child:
            code = 1
            try:
                die_with_parent()
                os.chdir(folder)
                log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                code = work()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(child, flush=True)
        sys.stdin.readline()  # who kills it first must find it, if only as a zombie
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
