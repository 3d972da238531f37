"""How calls reach the server: where it is, channels, repeated calls, streams and pages.

`sync` and `aio` execute the calls of `call`. What both have in common is in `core`, `retry` and `watching`.
"""

__all__ = ["aio", "call", "channel", "connection", "paging", "retry", "sync", "together", "watching"]
