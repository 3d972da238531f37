"""What operators do: dead letters, lanes, pauses, the audit log."""
