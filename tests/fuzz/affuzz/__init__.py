"""Odd workflows on the engine's own code: see the README beside this folder."""
