"""Steps that call a model."""
