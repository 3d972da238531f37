"""Registered workflow definitions: checks, versions, labels, and the subworkflows that a run pins."""
