"""One module for each gRPC service: messages become plain data, go to the handlers, and back."""
