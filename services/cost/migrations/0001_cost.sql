-- An account is what a limit is held against: a run (`run:<org>:<run>`) or one period of a budget
-- (`budget:<id>:<period start>`). Every change of money goes through the locked rows of its accounts.
CREATE TABLE accounts (
    id text PRIMARY KEY,
    spent_nano bigint NOT NULL DEFAULT 0 CHECK (spent_nano >= 0),
    reserved_nano bigint NOT NULL DEFAULT 0 CHECK (reserved_nano >= 0),
    ended boolean NOT NULL DEFAULT false,
    updated_at bigint NOT NULL DEFAULT 0
);

CREATE TABLE budgets (
    id text PRIMARY KEY,
    org text NOT NULL,
    name text NOT NULL,
    period text NOT NULL CHECK (period IN ('daily', 'weekly', 'monthly', 'total')),
    limit_nano bigint NOT NULL CHECK (limit_nano > 0),
    scope text NOT NULL,
    created_at bigint NOT NULL, -- ms since the epoch
    UNIQUE (org, name)
);

CREATE TABLE reservations (
    id text PRIMARY KEY,
    org text NOT NULL,
    run text NOT NULL,
    step text NOT NULL,
    attempt integer NOT NULL,
    state text NOT NULL CHECK (state IN ('held', 'settled', 'released', 'expired')),
    amount_nano bigint NOT NULL CHECK (amount_nano >= 0),
    accounts text[] NOT NULL,
    candidates text NOT NULL, -- JSON: asking again gives the same answer
    expires_at bigint NOT NULL,
    UNIQUE (org, run, step, attempt)
);
CREATE INDEX reservations_held_by_run ON reservations (org, run) WHERE state = 'held';
CREATE INDEX reservations_held_by_expiry ON reservations (expires_at) WHERE state = 'held';

-- One row for each settled event, by its sequence in AF_EVENTS: what makes a redelivery harmless.
CREATE TABLE settled (
    seq bigint PRIMARY KEY,
    org text NOT NULL,
    run text NOT NULL,
    cost_nano bigint NOT NULL CHECK (cost_nano >= 0),
    reserved_nano bigint NOT NULL,
    published boolean NOT NULL DEFAULT false -- the ledger AF_COST has it
);

CREATE TABLE responses (
    org text NOT NULL,
    cache_key text NOT NULL,
    value bytea NOT NULL,
    expires_at bigint NOT NULL,
    stored_at bigint NOT NULL,
    PRIMARY KEY (org, cache_key)
);
CREATE INDEX responses_by_age ON responses (org, stored_at);
CREATE INDEX responses_by_expiry ON responses (expires_at);
