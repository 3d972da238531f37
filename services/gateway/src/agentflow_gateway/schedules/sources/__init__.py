"""Places that schedules watch: folders and buckets. Workers read them; gateways remember it and ask for runs."""

from agentflow_gateway.schedules.sources.watchers import Watchers

__all__ = ["Watchers"]
