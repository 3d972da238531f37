"""One step of a run: how it begins, how its attempts are offered, limited and closed, and what follows.

The functions take a StepContext, `at`. They decide about that step and its parts, and never about the run as a whole.
"""

__all__ = ["advance", "attempts", "lane_slots", "locks", "subworkflows", "time_limits", "verdict"]
