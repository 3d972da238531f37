"""The gRPC services: each method turns a message into plain data, calls the room that does the work, and answers.

A servicer's method has the name of its RPC and takes the request and the call that the door made for it.
"""

__all__ = ["registration"]
