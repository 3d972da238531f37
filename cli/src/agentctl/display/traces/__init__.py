"""Views of a trace: a tree, a flowchart, a page."""

__all__ = ["calls", "family", "mermaid", "page", "tree"]
