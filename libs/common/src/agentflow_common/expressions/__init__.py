"""References, templates, conditions and JSON Schemas that a definition holds, evaluated in bounded time."""
