"""Why a run ended as it did: causes with evidence, and where its time and its money went."""

__all__ = ["explain", "handlers", "kinds", "measures", "open_runs", "run_log"]
