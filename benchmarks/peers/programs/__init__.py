"""Programs for the peers' environments, one for each engine.

Of this project they import only `protocol`.
"""
