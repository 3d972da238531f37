"""People's requests to runs that go on: cancel, pause, signals, answers, resolutions; one action on many runs."""

__all__ = ["batch", "breakpoints", "commands", "open_approvals"]
