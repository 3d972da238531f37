"""Developments over time as pictures: PNG, SVG, and a page."""

__all__ = ["drawing", "page"]
