"""The tables `runs`, `steps`, `llm_calls` and `costs`, derived from the events."""

__all__ = ["fold", "loop", "rebuilding", "store", "store_expiry", "tables"]
