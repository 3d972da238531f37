-- Labels point at versions; a canary takes a part of a label's submissions. Runs are found by tag and by error.

CREATE TABLE labels (
    org             text NOT NULL,
    name            text NOT NULL,
    label           text NOT NULL,
    version         integer NOT NULL,
    canary_version  integer,
    canary_percent  integer NOT NULL DEFAULT 0 CHECK (canary_percent BETWEEN 0 AND 99),
    updated_at      bigint NOT NULL,
    updated_by      text NOT NULL,
    PRIMARY KEY (org, name, label),
    FOREIGN KEY (org, name, version) REFERENCES definitions (org, name, version),
    FOREIGN KEY (org, name, canary_version) REFERENCES definitions (org, name, version)
);

ALTER TABLE runs ADD COLUMN error_type text NOT NULL DEFAULT '';

CREATE INDEX runs_by_tag ON runs USING gin ((tags::jsonb) jsonb_path_ops) WHERE tags <> '{}';

-- Approvals that are open, as a hint for listing them: the run's log says how each one stands.
CREATE TABLE approvals (
    org    text NOT NULL,
    run    text NOT NULL,
    step   text NOT NULL,
    since  bigint NOT NULL,
    seq    bigint NOT NULL,
    PRIMARY KEY (org, run, step)
);

CREATE INDEX approvals_by_time ON approvals (org, since, run, step);
