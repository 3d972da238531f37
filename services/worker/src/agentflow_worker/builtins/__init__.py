"""Functions that every worker offers: they compute and touch nothing."""
