"""Checks of a definition beyond its schema: one module for each subject."""

__all__ = ["definition", "lanes", "names", "tool_arguments"]
