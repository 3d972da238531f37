"""Registered workflow definitions: checks, versions, labels, and the subworkflows that a run pins."""

__all__ = ["check", "deletion", "labels", "lookup", "registered", "versions"]
