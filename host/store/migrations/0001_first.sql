-- "Seaw": tells that the file is Seawall's.
PRAGMA application_id = 1399153015;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- `spec` and `status` are JSON; `backend` repeats what the spec says, for whoever looks with another tool.
CREATE TABLE sessions (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    backend TEXT NOT NULL,
    spec    TEXT NOT NULL,
    status  TEXT NOT NULL,
    handle  BLOB
) STRICT;

CREATE TABLE intents (
    session TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    intent  TEXT NOT NULL
) STRICT;

-- AUTOINCREMENT: an id is never used again, even when every event was pruned.
CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    session     TEXT,
    name        TEXT,
    backend     TEXT,
    incarnation INTEGER,
    message     TEXT NOT NULL
) STRICT;

CREATE TABLE state (
    backend TEXT NOT NULL,
    key     TEXT NOT NULL,
    value   BLOB NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (backend, key)
) STRICT, WITHOUT ROWID;

-- The version of the newest commit; kept when the keys are deleted, so that no version comes twice.
CREATE TABLE state_version (
    backend TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
