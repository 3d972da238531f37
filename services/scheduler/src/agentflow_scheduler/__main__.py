"""`python -m agentflow_scheduler`"""

from __future__ import annotations

from agentflow_common.runtime.service import main
from agentflow_common.settings import load
from agentflow_scheduler.app import app
from agentflow_scheduler.settings import SchedulerSettings

if __name__ == "__main__":
    main("scheduler", load(SchedulerSettings), app)
