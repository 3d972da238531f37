"""`agentctl workflow`: definitions and runs."""
