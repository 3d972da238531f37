"""The boundary of the gRPC API: who calls, within which bounds, and how an error leaves."""
