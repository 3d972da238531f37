"""Graph-style workflows: supersteps, what they write to the shared state, and the visits that their edges lead to."""

__all__ = ["supersteps"]
