"""The security service: it replaces personal data and secrets by vault tokens, and records who sees the originals."""

__all__ = []
