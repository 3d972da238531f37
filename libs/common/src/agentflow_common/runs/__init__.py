"""A run: its folded state, the fold of its log, what it waits for, and what a fork of it keeps."""
