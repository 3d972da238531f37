"""The machine of keyed lanes: who gets the next slot."""

__all__ = ["machine"]
