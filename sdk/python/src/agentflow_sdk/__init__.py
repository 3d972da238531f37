"""Python SDK of AgentFlow."""
