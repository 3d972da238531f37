"""The boundary of the gRPC API: the caller, the bounds of a call, pages, and the form of errors."""

__all__ = ["call", "convert", "door", "errors", "gate", "pages"]
