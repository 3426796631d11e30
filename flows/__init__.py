"""When and where stages run. Prefect reads its settings once, at import, so the house's defaults are set here."""

import os
import sys
from pathlib import Path

from rstar_core.errors import UserError
from rstar_core.machine.python import check_environment

try:
    check_environment(("dvc", "prefect", "pydantic", "yaml"))
except UserError as error:  # before the imports of whichever module here was asked for
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

_LINE = "%(asctime)s | %(message)s"
_DEFAULTS = {
    "PREFECT_HOME": str(Path(__file__).parents[1] / "run" / "prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": _LINE,
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s | %(task_run_name)s | %(message)s",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect makes only the last folder
