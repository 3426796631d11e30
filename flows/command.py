"""The installed command ``rstar``: each of its commands is what ``python -m`` runs, too."""

from __future__ import annotations

import runpy
import sys
from difflib import get_close_matches
from typing import NamedTuple


class Command(NamedTuple):
    module: str
    arguments: tuple[str, ...]
    summary: str


COMMANDS = {
    "evolve": Command("flows.evolve", (), "run all rounds of params.yaml; --round r2, --profile tiny, --dry-run"),
    "profile": Command("tasks.runner.profiles", (), "make params.yaml one of infra/profiles/: tiny, full, paper …"),
    "solve": Command("tasks", ("solve",), "ask a trained round a question, and watch it search"),
    "serve": Command("flows.serve", (), "a round behind OpenAI's chat endpoint on 127.0.0.1, until Ctrl-C"),
    "show": Command("tasks", ("show",), "a problem's search trees, in the terminal and as a page for a browser"),
    "ui": Command("flows.ui", (), "Prefect and MLflow on 127.0.0.1, with a worker, until Ctrl-C"),
    "check": Command("tasks", ("check",), "verify files, hashes, lineage and MLflow"),
    "journals": Command("tasks", ("journals",), "what interrupted stages have kept"),
    "track": Command("tasks", ("track",), "fill MLflow again from the metrics files"),
    "ablate": Command("tasks", ("ablate",), "an ORM and a PQM from a round's trees, beside its PPM"),
    "release": Command("tasks", ("release",), "put a finished round on an object store"),
    "fetch": Command("tasks", ("fetch",), "bring a released round from there"),
    "grade": Command("rstar_core.answers", (), "whether pairs of answers are equal: --jsonl FILE"),
    "sandbox": Command("rstar_core.sandbox", (), "what isolation this machine grants: --probe"),
}


COMPLETION = "completion"


def main() -> int:
    """``rstar COMMAND …``, from the project's root."""
    name, rest = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == COMPLETION:
        print(f"complete -W '{' '.join([*COMMANDS, COMPLETION])}' -o default rstar")
        return 0
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, 1)
        mend = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(COMMANDS)}"
        print(f"error: rstar has no command '{name}'; {mend}", file=sys.stderr)
        return 2
    command = COMMANDS[name]
    sys.argv = [f"rstar {name}", *command.arguments, *rest]
    sys.path.insert(0, "")  # as `python -m` does: the code is that of the folder
    runpy.run_module(command.module, run_name="__main__", alter_sys=True)
    return 0


def overview() -> str:
    rows = [f"  {name:<12}{command.summary}" for name, command in COMMANDS.items()]
    shells = f'for the shell: eval "$(rstar {COMPLETION})" (zsh: autoload -U bashcompinit; bashcompinit, before)'
    rows.append(f"  {COMPLETION:<12}{shells}")
    return "\n".join(["usage: rstar COMMAND …   (rstar COMMAND --help says more)", "", *rows])
