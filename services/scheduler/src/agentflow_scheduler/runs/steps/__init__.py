"""One step of a run: how it begins, how its attempts are offered, limited and closed, and what follows.

The functions take a StepContext, `at`. They decide about that step and its parts, and never about the run as a whole.
finally_nodes.py says which steps are left when a run ends, and what their failure means.
"""

__all__ = [
    "advance",
    "attempts",
    "breakpoints",
    "finally_nodes",
    "lane_slots",
    "locks",
    "subworkflows",
    "time_limits",
    "verdict",
]
