"""What the API does to runs: submit, show, watch, control, fork, list."""
