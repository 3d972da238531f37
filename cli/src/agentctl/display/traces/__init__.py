"""Views of a trace: a tree, a flowchart, a page."""

__all__ = ["family", "mermaid", "page", "tree"]
