"""Where a project's results lie."""

from pathlib import Path

ARTIFACTS = Path("artifacts")  # as dvc.yaml has it
PROBLEMS = ARTIFACTS / "problems"
