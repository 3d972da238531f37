"""References, templates, conditions and JSON Schemas that a definition holds, evaluated in bounded time."""

__all__ = ["language", "sandbox", "state_schema"]
