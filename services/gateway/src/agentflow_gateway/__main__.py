"""`python -m agentflow_gateway`"""

from agentflow_common.runtime.service import main
from agentflow_common.settings import load
from agentflow_gateway.app import app
from agentflow_gateway.settings import GatewaySettings

if __name__ == "__main__":
    main("gateway", load(GatewaySettings), app)
