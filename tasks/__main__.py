"""``python -m tasks <stage> --flags``: runs one stage, then writes its metrics file, last of all.

Exit codes: 0 done, 2 the user can mend it (one line on stderr), 130 or 143 ended by SIGINT or SIGTERM (the same
command continues), 1 a bug (traceback).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_core.environment import check_environment
from rstar_core.errors import UserError
from tasks.ending import end_in_time, say_ended
from tasks.lifeline import die_with_parent
from tasks.room import check_room, is_full
from tasks.warm import run_warm

CONTINUE = "what is finished is kept, and the same command continues"
NEEDED = ("pyarrow", "pydantic", "yaml")


def main(argv: Sequence[str] | None = None) -> int:
    die_with_parent()
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        code = run_warm("tasks", arguments)
        if code is not None:
            return code
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; our own progress has a rate, and lines for a log
    try:
        check_environment(NEEDED)
        run(arguments)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Exception as error:
        if not is_full(error):
            raise
        said = " ".join(str(error).split())
        print(f"error: no room on the disk ({said}); make room, then the same command continues", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return say_ended(CONTINUE)
    return 0


def run(argv: Sequence[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
    elif argv[0] in COMMANDS:
        COMMANDS[argv[0]](argv[1:])
    else:
        run_stage(argv[0], argv[1:])


def overview() -> str:
    from tasks.stages import stage_summaries

    commands = {name: (command.__doc__ or "").partition("\n")[0] for name, command in COMMANDS.items()}
    rows = {**stage_summaries(), **commands}
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in rows.items()]
    return "\n".join(["usage: python -m tasks <stage> --flags   (dvc.yaml has the commands)", "", *lines])


def track(argv: Sequence[str]) -> None:
    """Rebuild MLflow from the metrics files of all rounds."""
    parser = argparse.ArgumentParser(prog="python -m tasks track", description=track.__doc__)
    parser.parse_args(argv)
    from tasks.tracking import rebuild

    rebuild()


def check(argv: Sequence[str]) -> None:
    """Verify manifests, hashes, lineage and MLflow; --repair-tracking rebuilds MLflow."""
    parser = argparse.ArgumentParser(prog="python -m tasks check", description=check.__doc__)
    parser.add_argument("--repair-tracking", action="store_true", help="first log every stage again from its files")
    if parser.parse_args(argv).repair_tracking:
        track([])
    from tasks.consistency import check_all

    report = check_all()
    for fault in report.faults:
        print(fault)
    counts = ", ".join(f"{count} {name}" for name, count in report.num_checked.items())
    print(f"checked: {counts}; faults: {len(report.faults)}")
    if report.faults:
        raise UserError(f"{len(report.faults)} faults, listed above")


def journals(argv: Sequence[str]) -> None:
    """List what interrupted stages have kept; --remove-stale removes what no stage can use."""
    parser = argparse.ArgumentParser(prog="python -m tasks journals", description=journals.__doc__)
    parser.add_argument("--remove-stale", action="store_true")
    does_remove = parser.parse_args(argv).remove_stale
    from tasks.journals import kept, remove_stale

    for one in kept():
        print(f"{one.folder}: {'stale: ' + '; '.join(one.reasons) if one.reasons else 'its stage goes on from it'}")
    if does_remove:
        print(f"removed: {len(remove_stale())}")


def ablate(argv: Sequence[str]) -> None:
    """Train ORM and PQM from a round's trees and compare them with its PPM."""
    parser = argparse.ArgumentParser(prog="python -m tasks ablate", description=ablate.__doc__)
    parser.add_argument("--round-id", required=True, metavar="ID")
    round_id = parser.parse_args(argv).round_id
    from rstar_core.config import load_params
    from tasks import ablate as its

    print(its.table(its.ablate(round_id, load_params())))


def release(argv: Sequence[str]) -> None:
    """Put a finished round on an object store."""
    parser = argparse.ArgumentParser(prog="python -m tasks release", description=release.__doc__)
    parser.add_argument("--round-id", required=True, metavar="ID")
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="such as s3://bucket/prefix")
    arguments = parser.parse_args(argv)
    from tasks import releases

    done = releases.release(arguments.round_id, arguments.to)
    sent = f"{done.num_sent} sent ({done.num_bytes / 1e6:.1f} MB)"
    print(f"{arguments.to}/{arguments.round_id}: {done.num_files} files, {sent}")


def fetch(argv: Sequence[str]) -> None:
    """Bring a released round from an object store into a new folder."""
    parser = argparse.ArgumentParser(prog="python -m tasks fetch", description=fetch.__doc__)
    parser.add_argument("--round-id", required=True, metavar="ID")
    parser.add_argument("--from", required=True, metavar="ADDRESS", dest="address", help="such as s3://bucket/prefix")
    parser.add_argument("--into", required=True, metavar="FOLDER", type=Path)
    arguments = parser.parse_args(argv)
    from tasks import releases

    num_files = releases.fetch(arguments.round_id, arguments.address, arguments.into)
    print(f"{arguments.into}: {num_files} files of {arguments.round_id}")


def solve(argv: Sequence[str]) -> None:
    """Ask a trained round a question: the policy alone beside System 2, with the search shown."""
    parser = argparse.ArgumentParser(prog="rstar solve", description=solve.__doc__)
    parser.add_argument("question", nargs="?", help="the text of a problem; without it, standard input's")
    parser.add_argument("--round", default="best", metavar="ID", help="a round that has run (default: the best so far)")
    parser.add_argument(
        "--num-trees", type=positive, metavar="N", help="System 2's trees (default: evaluate.num_trees)"
    )
    parser.add_argument("--answer", metavar="TEXT", help="the right answer: says which methods found it")
    parser.add_argument("--jsonl", type=Path, metavar="FILE", help="rows of problem and, if known, answer")
    parser.add_argument("--json", action="store_true", help="one JSON object for each question, and nothing else")
    given = parser.parse_args(argv)
    from tasks.solve import solve as its

    its(given)


def positive(text: str) -> int:
    """For argparse."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text}: not a whole number from 1")
    return int(text)


COMMANDS = {
    **{"track": track, "check": check, "journals": journals, "ablate": ablate},
    **{"release": release, "fetch": fetch, "solve": solve},
}


def run_stage(name: str, argv: Sequence[str]) -> None:
    """Run the stage, then record timings, metrics and tracking, in that order."""
    from rstar_core.config import load_params
    from rstar_core.io import write_json
    from tasks.inputs import sound
    from tasks.stages import fill_sections, load_stage, tracked_keys
    from tasks.timings import FIRST_ROUND, record_timings
    from tasks.tracking import StageRun, is_logged_by_a_flow, log_stage

    function = load_stage(name)
    flags = parse_flags(name, argv)
    inputs, outputs = split_paths(flags)
    round_id = flags.get("round_id")
    sections = fill_sections(function, load_params(), round_id)
    check_room(inputs.values())
    started = time.monotonic()
    with sound(inputs.values(), lambda: fill_sections(function, load_params(), round_id)):
        metrics = function(**{key: value for key, value in flags.items() if key != "metrics"}, **sections)
    rates: dict[str, Any] = metrics.pop("timings", {})
    record_timings(round_id, name, {"seconds": round(time.monotonic() - started, 3), **rates})
    write_json(flags["metrics"], metrics)
    if is_logged_by_a_flow():
        return
    params = tracked_keys(sections, function, round_id)
    log_stage(StageRun(name, round_id or FIRST_ROUND, inputs, outputs, params))


def split_paths(flags: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Path]]:
    """The path flags as inputs and outputs. Before a stage runs, only its inputs exist: DVC removes its outputs."""
    paths = {name: path for name, path in flags.items() if isinstance(path, Path)}
    inputs = {name: path for name, path in paths.items() if path.exists() and name != "metrics"}
    return inputs, {name: path for name, path in paths.items() if name not in inputs}


def parse_flags(name: str, argv: Sequence[str]) -> dict[str, Any]:
    """The stage's command-line arguments by parameter name, and ``metrics``, the runner's own."""
    from tasks.stages import add_flags, load_stage

    function = load_stage(name)
    summary = (function.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog=f"python -m tasks {name}", description=summary, allow_abbrev=False)
    add_flags(parser, function)
    parser.add_argument("--metrics", type=Path, required=True, metavar="PATH", help="written last, by the runner")
    return vars(parser.parse_args(argv))


if __name__ == "__main__":
    end_in_time(CONTINUE)
    sys.exit(main())
