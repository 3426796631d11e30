"""The command lines of what is no stage: each function is a command, the first line of its docstring its help.

Nothing heavy is loaded before a command is known to be well-formed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rstar_core.errors import UserError


def track(argv: Sequence[str]) -> None:
    """Rebuild MLflow from the metrics files of all rounds."""
    parser = argparse.ArgumentParser(prog="python -m tasks track", description=track.__doc__)
    parser.parse_args(argv)
    from tasks.runner.tracking import rebuild

    rebuild()


def check(argv: Sequence[str]) -> None:
    """Verify manifests, hashes, lineage and MLflow; --repair-tracking rebuilds MLflow."""
    parser = argparse.ArgumentParser(prog="python -m tasks check", description=check.__doc__)
    parser.add_argument("--repair-tracking", action="store_true", help="first log every stage again from its files")
    if parser.parse_args(argv).repair_tracking:
        track([])
    from tasks.commands.consistency import check_all

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
    from tasks.commands.journals import kept, remove_stale

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
    from tasks.commands import ablate as its

    print(its.table(its.ablate(round_id, load_params())))


def release(argv: Sequence[str]) -> None:
    """Put a finished round on an object store."""
    parser = argparse.ArgumentParser(prog="python -m tasks release", description=release.__doc__)
    parser.add_argument("--round-id", required=True, metavar="ID")
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="such as s3://bucket/prefix")
    arguments = parser.parse_args(argv)
    from tasks.commands import releases

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
    from tasks.commands import releases

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
    from tasks.commands.solve import solve as its

    its(given)


def show(argv: Sequence[str]) -> None:
    """Show a problem's search trees, in the terminal and as a page for a browser."""
    parser = argparse.ArgumentParser(prog="rstar show", description=show.__doc__)
    parser.add_argument(
        "problem", nargs="?", help="a training problem's id, or how it begins; without it: some of them"
    )
    parser.add_argument("--round", default="r1", metavar="ID", help="a round that has searched (default: r1)")
    parser.add_argument("--tree", type=positive, metavar="N", help="only its Nth tree")
    given = parser.parse_args(argv)
    from tasks.commands.show import show as its

    its(given)


def positive(text: str) -> int:
    """For argparse."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text}: not a whole number from 1")
    return int(text)


COMMANDS = {
    **{"track": track, "check": check, "journals": journals, "ablate": ablate},
    **{"release": release, "fetch": fetch, "solve": solve, "show": show},
}
