"""The cost service: it chooses models by quality and price, reserves money before a call, and settles it after."""

__all__ = []
