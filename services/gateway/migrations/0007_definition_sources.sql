-- The text that a definition was registered with, comments and all. NULL: it was registered as data, or before this column.

ALTER TABLE definitions ADD COLUMN source text;
