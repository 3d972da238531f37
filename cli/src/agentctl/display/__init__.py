"""How results look: tables, live views, progress."""
