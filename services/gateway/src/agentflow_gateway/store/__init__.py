"""All SQL of the gateway (schema `gateway`), one module for each group of tables. Times are ms since the epoch.

Every query on behalf of a client names the client's org.
"""

__all__ = [
    "approvals",
    "calendars",
    "changes",
    "definitions",
    "keys",
    "labels",
    "runs",
    "schedules",
    "sources",
    "tables",
]
