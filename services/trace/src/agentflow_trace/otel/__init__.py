"""OpenTelemetry: the spans of runs, made from the log."""

__all__ = ["answer", "genai", "handlers", "live", "sending", "spans", "wire"]
