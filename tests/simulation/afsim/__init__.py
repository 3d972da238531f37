"""The engine in one process on virtual time: real schedulers and workers, a simulated server, seeded faults."""
