"""Steps that call a model."""

__all__ = ["llm_step"]
