"""Checks of a definition beyond its schema: one module for each subject."""
