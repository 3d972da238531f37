-- What schedules watch: folders, buckets. Times: ms since the epoch, but for the lease, which is by this server's clock.

ALTER TABLE schedules ADD COLUMN source text NOT NULL DEFAULT '';

CREATE INDEX schedules_by_source ON schedules (source) WHERE source <> '';

-- since: items that did not change after it were there before the schedule. position: how far the source was read.
CREATE TABLE sources (
    id          text PRIMARY KEY,
    schedule    text NOT NULL,
    uid         text NOT NULL,
    since       bigint NOT NULL,
    position    text NOT NULL DEFAULT '',
    taken       bigint NOT NULL DEFAULT 0,
    refused     bigint NOT NULL DEFAULT 0,
    looked_at   bigint NOT NULL DEFAULT 0,
    error_kind  text NOT NULL DEFAULT '',
    error       text NOT NULL DEFAULT '',
    holder      text NOT NULL DEFAULT '',
    held_until  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX sources_by_schedule ON sources (schedule);

-- The newest version of each item that was triggered or passed over. Items that are gone leave after a while.
CREATE TABLE source_items (
    source      text NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    item        text NOT NULL,
    version     text NOT NULL,
    seen_at     bigint NOT NULL,
    PRIMARY KEY (source, item)
);
