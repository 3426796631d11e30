"""The fork server without any isolation: a baseline for benchmarks/sandbox.py, of no other use."""

from __future__ import annotations

import os
import runpy
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from rstar_core.sandbox import child, confine, seccomp

    sys.path.pop(0)
    confine.isolate = lambda: ["namespaces"]  # as snapshots ask for it
    confine.lock_down = lambda: True
    confine.die_with_parent = child.die_with_parent = lambda parent: None  # type: ignore[attr-defined]
    child.limit_resources = lambda *limits: None  # type: ignore[attr-defined]
    child.install_filter = lambda libc, program: None  # type: ignore[attr-defined]
    seccomp.listen_to_branches = lambda libc: os.pipe()[0]
    runpy.run_path(str(ROOT / "rstar_core/sandbox/zygote.py"), run_name="__main__")
    with suppress(ChildProcessError):  # no namespace ends and counts them
        while True:
            os.wait()
