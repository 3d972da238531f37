"""Runs over the API: submit, show, list, watch, compare, explain, fork, retry."""

__all__ = [
    "archive",
    "breakpoint_rules",
    "compare",
    "explain",
    "forks",
    "listing",
    "lookup",
    "projection",
    "submission",
    "submit",
    "view",
    "wait",
    "watch",
]
