"""One module for each group of commands. Heavy imports stand inside the commands: start-up time is a promise."""
