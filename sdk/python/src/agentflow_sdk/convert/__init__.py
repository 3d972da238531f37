"""Protobuf messages to plain Python and back."""
