"""Finds runs by what they used, cost, said, and how they ended."""

__all__ = ["handlers", "store"]
