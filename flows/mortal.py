"""``python -m flows.mortal <module> args``: as ``python -m <module> args``, but the process dies with its parent."""

import runpy
import sys

from tasks.lifeline import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
