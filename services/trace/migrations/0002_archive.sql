-- Runs whose events were (done), or were about to be (not done), purged from the log: their rows are the only copy.
-- log: which log their sequences belong to. up_to: the newest sequence that was purged. ended_seq: of the final event;
-- 0 for late words about a run that had been purged before.
CREATE TABLE IF NOT EXISTS purged_runs
(
    log String,
    org String,
    run String,
    up_to UInt64,
    ended_seq UInt64,
    messages UInt64,
    done Bool,
    written_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (org, run, up_to);

-- Where the rows of purged runs survive when `events` is read anew from the log: then, and only then, it is filled.
-- Its columns are those of `events` and `log`: a migration of one is a migration of both.
CREATE TABLE IF NOT EXISTS archive AS events
ENGINE = MergeTree
ORDER BY (org, run, stream, stream_seq);

ALTER TABLE archive ADD COLUMN IF NOT EXISTS log String FIRST;

-- An older ClickHouse was put back: runs purged between these sequences are in no archive.
CREATE TABLE IF NOT EXISTS archive_losses
(
    log String,
    first UInt64,
    last UInt64,
    noticed_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (log, last);
