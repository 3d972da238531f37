-- Versions are immutable rows numbered 1.. without gaps: the row in `prompts` is the lock that numbers them.
CREATE TABLE prompts (
    org text NOT NULL,
    name text NOT NULL,
    latest integer NOT NULL DEFAULT 0,
    PRIMARY KEY (org, name)
);

CREATE TABLE versions (
    org text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    template text NOT NULL,
    system text NOT NULL,
    description text NOT NULL,
    inputs_schema text NOT NULL, -- JSON as written: jsonb would reorder it
    task text NOT NULL,
    max_output_tokens integer NOT NULL CHECK (max_output_tokens > 0),
    temperature double precision NOT NULL,
    created_at bigint NOT NULL, -- ms since the epoch
    created_by text NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (org, name, version),
    FOREIGN KEY (org, name) REFERENCES prompts (org, name)
);

CREATE TABLE labels (
    org text NOT NULL,
    name text NOT NULL,
    label text NOT NULL,
    version integer NOT NULL,
    PRIMARY KEY (org, name, label),
    FOREIGN KEY (org, name, version) REFERENCES versions (org, name, version)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'prompt versions are immutable: create a new version';
END $$;

CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON versions FOR EACH ROW EXECUTE FUNCTION refuse_change();
