"""The Prometheus metrics of every service, by subject. A service imports the subjects that it measures.

Each label has a bound (labels.py), and each metric has a bound on its series (bounded.py). docs/metrics.md is made from
these modules.
"""

__all__ = ["bounded", "calls", "cost", "labels", "log", "models", "process", "security", "threads", "trace", "workflow"]
