"""`python -m agentflow_worker [--load MODULE_OR_FILE]...`"""

from __future__ import annotations

import argparse

from agentflow_common.runtime.service import main
from agentflow_common.settings import load
from agentflow_worker.app import app
from agentflow_worker.settings import WorkerSettings


def parse(arguments: list[str] | None = None) -> WorkerSettings:
    """Returns the settings from the environment, with the modules of `--load` added to WORKER_LOAD."""
    parser = argparse.ArgumentParser(prog="python -m agentflow_worker", description="Runs the steps of workflows.")
    parser.add_argument(
        "--load",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module or a .py file with @tool and @function; may be given again",
    )
    settings = load(WorkerSettings)
    return settings.model_copy(update={"load": (*settings.load, *parser.parse_args(arguments).load)})


if __name__ == "__main__":
    main("worker", parse(), app)
