"""The scheduler's loop: take what arrived, fold it, decide, append."""
