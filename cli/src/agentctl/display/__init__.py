"""How results look: tables, live views, progress."""

__all__ = ["live", "output", "plots", "render", "replays", "traces"]
