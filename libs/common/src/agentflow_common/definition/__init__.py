"""Workflow definitions: the model, how text becomes one, and how two of them differ."""
