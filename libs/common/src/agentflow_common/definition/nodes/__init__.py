"""The nodes of a workflow definition: what each type takes, what it calls, what it reads."""

__all__ = ["base", "calls", "configs", "lock", "policy", "run_lane", "types", "work"]
