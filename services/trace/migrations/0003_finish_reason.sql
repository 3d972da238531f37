-- How a model's answer ended. Rows that were written before have it in their body alone.
ALTER TABLE events ADD COLUMN IF NOT EXISTS finish_reason LowCardinality(String);
ALTER TABLE archive ADD COLUMN IF NOT EXISTS finish_reason LowCardinality(String);
