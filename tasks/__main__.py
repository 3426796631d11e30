"""``python -m tasks <stage> --flags``: runs one stage, then writes its metrics file, last of all.

Exit codes: 0 done, 2 the user can mend it (one line on stderr), 130 or 143 ended by SIGINT or SIGTERM (the same
command continues), 1 a bug (traceback).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rstar_core.errors import UserError
from rstar_core.machine import variables
from rstar_core.machine.parent_death import die_with_parent
from rstar_core.machine.python import check_environment
from tasks.commands.parsers import COMMANDS
from tasks.runner.disk import is_full
from tasks.runner.signals import end_in_time, say_ended
from tasks.runner.warm import run_warm

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
        variables.check()
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
        try:
            COMMANDS[argv[0]](argv[1:])
        except BrokenPipeError:  # `rstar show | head`: whoever reads has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        from tasks.runner.run import run_stage

        run_stage(argv[0], argv[1:])


def overview() -> str:
    from tasks.runner.stages import stage_summaries

    commands = {name: (command.__doc__ or "").partition("\n")[0] for name, command in COMMANDS.items()}
    rows = {**stage_summaries(), **commands}
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in rows.items()]
    return "\n".join(["usage: python -m tasks <stage> --flags   (dvc.yaml has the commands)", "", *lines])


if __name__ == "__main__":
    end_in_time(CONTINUE)
    sys.exit(main())
