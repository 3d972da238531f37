"""References, templates, conditions and JSON Schemas that a definition holds, evaluated in bounded time."""

__all__ = ["language", "sandbox", "schema_dialect", "schema_refs", "state_schema", "value_schema"]
