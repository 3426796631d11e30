"""``python -m flows.mortal <module> args``: as ``python -m <module> args``, but the process dies with its parent.

It is a copy of a process that has loaded the module's libraries, where there is one (``tasks/runner/warm.py``).
"""

import runpy
import sys

from rstar_core.machine.parent_death import die_with_parent
from tasks.runner.warm import run_warm

if __name__ == "__main__":
    die_with_parent()
    del sys.argv[0]
    code = run_warm(sys.argv[0], sys.argv[1:])
    if code is not None:
        sys.exit(code)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
