"""`python -m agentflow_cost`"""

from agentflow_common.service import main
from agentflow_cost.app import app
from agentflow_cost.settings import CostSettings

if __name__ == "__main__":
    main("cost", CostSettings(), app)
