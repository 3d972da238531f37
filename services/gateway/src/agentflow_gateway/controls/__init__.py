"""People's requests to runs that go on: cancel, pause, signals, answers, resolutions; one action on many runs."""

__all__ = ["batch", "commands", "open_approvals"]
