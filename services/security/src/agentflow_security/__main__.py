"""`python -m agentflow_security`"""

from __future__ import annotations

from agentflow_common.runtime.service import main
from agentflow_common.settings import load
from agentflow_security.app import app
from agentflow_security.settings import SecuritySettings

if __name__ == "__main__":
    main("security", load(SecuritySettings), app)
