-- The token vault: what each redaction token of a run stands for, sealed under the org's key.
CREATE TABLE vault (
    org text NOT NULL,
    run text NOT NULL,
    token text NOT NULL,
    entity text NOT NULL,
    -- keyed digest of (run, entity, value): tells the same value from a colliding one without opening the seal
    digest bytea NOT NULL,
    -- 12 bytes of nonce, then AES-256-GCM of the value with org, run and token as associated data
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, run, token)
);

-- Which master key sealed this vault: a service with another key must refuse to start, not seal under both.
CREATE TABLE vault_key (
    id smallint PRIMARY KEY CHECK (id = 1),
    fingerprint bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
