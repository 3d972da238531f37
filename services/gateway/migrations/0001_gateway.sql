-- Orgs, API keys, immutable definitions and the projection of runs. Times are ms since the epoch, money is nano-USD.

CREATE TABLE orgs (
    id          text PRIMARY KEY,
    created_at  bigint NOT NULL
);

CREATE TABLE api_keys (
    id           text PRIMARY KEY,
    key_sha256   bytea NOT NULL UNIQUE,
    org          text NOT NULL REFERENCES orgs (id),
    name         text NOT NULL DEFAULT '',
    permissions  text[] NOT NULL,
    created_at   bigint NOT NULL,
    revoked_at   bigint
);

-- Keys of HMACs, made at first start and shared by every replica of the gateway.
CREATE TABLE secrets (
    name   text PRIMARY KEY,
    value  bytea NOT NULL
);

CREATE TABLE definitions (
    org         text NOT NULL REFERENCES orgs (id),
    name        text NOT NULL,
    version     integer NOT NULL,
    digest      text NOT NULL,
    canonical   text NOT NULL,  -- text, not jsonb: the digest is over these bytes
    created_at  bigint NOT NULL,
    created_by  text NOT NULL,
    PRIMARY KEY (org, name, version)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a workflow definition is immutable: register another version';
END $$;

CREATE TRIGGER definitions_are_immutable BEFORE UPDATE ON definitions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- A fold of the log that may be dropped and rebuilt. seq: newest event that decided the status; 0: only submitted.
CREATE TABLE runs (
    org           text NOT NULL,
    run           text NOT NULL,
    workflow      text NOT NULL,
    version       integer NOT NULL,
    status        text NOT NULL,
    submitted_at  bigint NOT NULL,
    started_at    bigint NOT NULL DEFAULT 0,
    finished_at   bigint NOT NULL DEFAULT 0,
    cost_nano     bigint NOT NULL DEFAULT 0,
    tags          text NOT NULL DEFAULT '{}',
    seq           bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (org, run)
);

CREATE INDEX runs_by_time ON runs (org, submitted_at DESC, run DESC);
CREATE INDEX runs_by_status ON runs (org, status, submitted_at DESC, run DESC);
CREATE INDEX runs_by_workflow ON runs (org, workflow, submitted_at DESC, run DESC);
