-- Schedules as lists show them (a fold of the log that may be dropped and rebuilt), and calendars. Times: ms since the epoch.

-- seq: the newest fact that the row knows of. A deleted schedule keeps its row, so that a late word can't bring it back.
CREATE TABLE schedules (
    org         text NOT NULL,
    name        text NOT NULL,
    id          text NOT NULL,
    uid         text NOT NULL,
    status      text NOT NULL,
    workflow    text NOT NULL,
    spec        text NOT NULL,
    calendars   text NOT NULL DEFAULT '{}',
    subject     text NOT NULL DEFAULT '',
    anchor      bigint NOT NULL,
    created_at  bigint NOT NULL,
    seq         bigint NOT NULL,
    PRIMARY KEY (org, name)
);

CREATE INDEX schedules_by_subject ON schedules (subject) WHERE subject <> '';

CREATE TABLE calendars (
    org         text NOT NULL,
    name        text NOT NULL,
    dates       text NOT NULL,
    updated_at  bigint NOT NULL,
    updated_by  text NOT NULL,
    PRIMARY KEY (org, name)
);
