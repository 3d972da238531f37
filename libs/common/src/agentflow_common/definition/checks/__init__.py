"""What can be wrong with a definition beyond its schema: one module for each subject."""
