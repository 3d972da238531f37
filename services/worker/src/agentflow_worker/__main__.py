"""`python -m agentflow_worker`"""

from __future__ import annotations

from agentflow_common.service import main
from agentflow_worker.app import app
from agentflow_worker.settings import WorkerSettings

if __name__ == "__main__":
    main("worker", WorkerSettings(), app)
