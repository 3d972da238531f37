"""For tests: a table whose rows start runs, and the address of the database that has it."""

from __future__ import annotations

from urllib.parse import quote

TABLE = """
CREATE TABLE orders (
    id bigserial PRIMARY KEY, customer text NOT NULL, txid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX ON orders (txid, id);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY orders; RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION tell();
"""


def dsn_of(env: dict[str, str]) -> str:
    password = f":{quote(env['DB_PASSWORD'], safe='')}" if env.get("DB_PASSWORD") else ""
    place = f"host={quote(env['DB_HOST'], safe='')}&port={env['DB_PORT']}"
    return f"postgresql://{env['DB_USER']}{password}@/{env['DB_NAME']}?{place}"
