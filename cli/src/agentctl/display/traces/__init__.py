"""Views of a trace: a tree, a flowchart, a page, and the differences of two."""

__all__ = ["calls", "diff", "diff_page", "explanation", "family", "found", "groups", "mermaid", "page", "tree"]
