-- Which session was made for which Idempotency-Key; `request` is a hash of what was asked for.
CREATE TABLE idempotency (
    key     TEXT PRIMARY KEY,
    request BLOB NOT NULL,
    session TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);
-- Whose request it was that caused it, where one did.
ALTER TABLE events ADD COLUMN actor TEXT;
