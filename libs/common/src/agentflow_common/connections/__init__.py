"""Connections to NATS and databases, and the errors of theirs that pass by themselves."""
