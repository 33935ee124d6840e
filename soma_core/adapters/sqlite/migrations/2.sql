-- From schema 1 to 2: tokens, and ranges of coordinates.

CREATE INDEX live_by_coordinate ON memories (namespace, CAST(coordinate AS REAL)) WHERE state = 'live' AND coordinate IS NOT NULL;

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
