"""Cost, latency, errors, tokens and runs over time, from the derived tables."""

__all__ = ["handlers", "plan", "store_series"]
