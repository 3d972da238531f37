"""`make bench-peers`: the same durable chain on other engines, in turn with ours (see ../README.md)."""
