"""agentctl: the command line and the embedded stack."""
