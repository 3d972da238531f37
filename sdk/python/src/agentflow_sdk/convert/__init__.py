"""Between messages of the API and plain Python: JSON values, requests and answers."""

__all__ = ["answers", "json_values", "requests"]
