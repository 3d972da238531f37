-- A worker may report several quick steps in one message. Each of them has a row of its own; `later` is the number of rows
-- of the same message after this one. The row with 0 is that of the message itself: it has the body as the log has it.
ALTER TABLE events ADD COLUMN IF NOT EXISTS later UInt32;
ALTER TABLE archive ADD COLUMN IF NOT EXISTS later UInt32;
