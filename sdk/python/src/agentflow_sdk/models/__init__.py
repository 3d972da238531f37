"""The answers of the API as frozen dataclasses, by subject."""

__all__ = [
    "admin",
    "approvals",
    "audit",
    "budgets",
    "controls",
    "lanes",
    "money",
    "prompts",
    "records",
    "schedules",
    "statuses",
    "tools",
    "traces",
    "versions",
    "workflows",
]
