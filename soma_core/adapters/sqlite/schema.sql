-- Soma's records. Times are microseconds since 1970 UTC; ids are the 16 bytes of a UUID.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Where each memory stands. The descriptive columns are those of its current version, NULL once purged;
-- position, words, question, importance and standing are features for ranking.
CREATE TABLE memories (
    id BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    type TEXT,
    thread TEXT,
    position INTEGER,
    speaker TEXT,
    occurred_at INTEGER,
    coordinate TEXT,
    words INTEGER,
    question INTEGER,
    importance REAL,
    standing INTEGER
) WITHOUT ROWID;

CREATE INDEX live_by_time ON memories (namespace, occurred_at, id) WHERE state = 'live';
CREATE INDEX live_by_type ON memories (namespace, type, occurred_at, id) WHERE state = 'live';
CREATE INDEX live_by_speaker ON memories (namespace, speaker, occurred_at, id) WHERE state = 'live' AND speaker IS NOT NULL;
CREATE INDEX by_thread ON memories (namespace, thread, position) WHERE thread IS NOT NULL;
CREATE INDEX live_by_coordinate ON memories (namespace, CAST(coordinate AS REAL)) WHERE state = 'live' AND coordinate IS NOT NULL;
CREATE INDEX by_last_digits ON memories (namespace, substr(id, 11));

-- What each version said. `hidden` versions belong to a time before their memory was forgotten.
CREATE TABLE versions (
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    hidden INTEGER NOT NULL DEFAULT 0,
    text TEXT,
    type TEXT,
    tags TEXT,
    thread TEXT,
    position INTEGER,
    speaker TEXT,
    occurred_at INTEGER,
    coordinate TEXT,
    importance REAL,
    payload TEXT,
    reason TEXT,
    PRIMARY KEY (id, version)
) WITHOUT ROWID;

CREATE TABLE memory_tags (
    namespace TEXT NOT NULL,
    tag TEXT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (namespace, tag, id)
) WITHOUT ROWID;

-- The audit and the outbox in one: never text. Offsets only rise, for the last event is never deleted.
CREATE TABLE events (
    "offset" INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    time INTEGER NOT NULL
);

CREATE INDEX events_by_namespace ON events (namespace);

-- Mutating requests, so that the same one is never applied twice. `receipt` is JSON without text.
CREATE TABLE requests (
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    receipt TEXT NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (namespace, id)
) WITHOUT ROWID;

CREATE INDEX requests_by_time ON requests (time);

-- Who may do what. `digest` is the SHA-256 of the token's text, which is kept nowhere; `scopes` are joined by commas.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    name TEXT,
    digest BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE counts (
    namespace TEXT NOT NULL,
    state TEXT NOT NULL,
    type TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (namespace, state, type)
) WITHOUT ROWID;

CREATE TRIGGER count_new AFTER INSERT ON memories BEGIN
    INSERT INTO counts VALUES (new.namespace, new.state, coalesce(new.type, ''), 1)
    ON CONFLICT (namespace, state, type) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER count_changed AFTER UPDATE OF state, type ON memories BEGIN
    UPDATE counts SET n = n - 1
    WHERE namespace = old.namespace AND state = old.state AND type = coalesce(old.type, '');
    INSERT INTO counts VALUES (new.namespace, new.state, coalesce(new.type, ''), 1)
    ON CONFLICT (namespace, state, type) DO UPDATE SET n = n + 1;
END;
