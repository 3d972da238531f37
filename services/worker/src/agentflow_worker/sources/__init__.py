"""Answers what is new in folders, buckets and tables, for the schedules that watch them."""

from agentflow_worker.sources.serving import routes

__all__ = ["routes"]
