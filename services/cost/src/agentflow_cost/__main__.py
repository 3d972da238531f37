"""`python -m agentflow_cost`"""

from agentflow_common.runtime.service import main
from agentflow_common.settings import load
from agentflow_cost.app import app
from agentflow_cost.settings import CostSettings

if __name__ == "__main__":
    main("cost", load(CostSettings), app)
