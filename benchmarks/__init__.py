"""Benchmarks: `make bench` prints one JSON object a figure on stdout, progress on stderr (see README.md)."""
