-- What a commit costs is the pages that it touches: an open intent stands with its session, and events count themselves.
ALTER TABLE sessions ADD COLUMN intent TEXT;
UPDATE sessions SET intent = (SELECT intent FROM intents WHERE session = sessions.id);
DROP TABLE intents;

-- Without AUTOINCREMENT, which writes to a table of its own with each event. `meta` has the largest id when events were last
-- pruned, so that none is used again.
INSERT INTO meta (key, value) SELECT 'event', CAST(seq AS TEXT) FROM sqlite_sequence WHERE name = 'events';
ALTER TABLE events RENAME TO earlier;
CREATE TABLE events (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    session     TEXT,
    name        TEXT,
    backend     TEXT,
    incarnation INTEGER,
    message     TEXT NOT NULL,
    trace       TEXT,
    actor       TEXT
) STRICT;
INSERT INTO events SELECT id, at, kind, session, name, backend, incarnation, message, trace, actor FROM earlier;
DROP TABLE earlier;
