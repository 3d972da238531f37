"""The prompt service: immutable versions of prompts, and their rendering in a sandbox."""

__all__ = []
