"""The run machine: what happens next in a run, as pure functions of its folded state."""

__all__ = ["decisions", "faults", "machine", "plan", "run", "run_slots", "steps"]
