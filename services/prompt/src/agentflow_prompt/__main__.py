"""`python -m agentflow_prompt`"""

from agentflow_common.runtime.service import main
from agentflow_common.settings import load
from agentflow_prompt.app import app
from agentflow_prompt.settings import PromptSettings

if __name__ == "__main__":
    main("prompt", load(PromptSettings), app)
