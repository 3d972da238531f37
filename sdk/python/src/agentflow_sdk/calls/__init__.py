"""Every call of the API as data: the request that is sent, and how its answer is read.

The sync and the async client execute these same functions, and nothing here does I/O. The signature and the docstring
of a function are those of the client's method.
"""

__all__ = [
    "admin",
    "approvals",
    "audit",
    "budgets",
    "calendars",
    "controls",
    "lanes",
    "prompts",
    "schedules",
    "tools",
    "traces",
    "versions",
    "workflows",
]
