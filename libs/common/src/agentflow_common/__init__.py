"""The library that every AgentFlow service shares: events, the log, questions between services, definitions."""

__version__ = "0.1.0"

__all__ = [
    "clock",
    "connections",
    "definition",
    "embedded",
    "errors",
    "events",
    "expressions",
    "field_texts",
    "hints",
    "ids",
    "json_values",
    "lanes",
    "log",
    "metrics",
    "money",
    "package_files",
    "places",
    "private_words",
    "rpc",
    "runs",
    "runtime",
    "schedules",
    "screening",
    "settings",
    "span_ids",
    "subjects",
    "tasks",
    "telemetry",
]
