-- Soma's records. Times are microseconds since 1970 UTC. `ns` stands for a namespace: the first 16 bytes of the SHA-256
-- of its name, so that names of any length can be indexed and no process needs to ask for a number.

CREATE TABLE namespaces (
    ns uuid PRIMARY KEY,
    name text NOT NULL,
    indexed boolean NOT NULL DEFAULT false
);

CREATE TABLE meta (
    key text PRIMARY KEY,
    value text NOT NULL
);

INSERT INTO meta VALUES ('store_id', gen_random_uuid()::text);

-- Where each memory stands. The descriptive columns are those of its current version, NULL once purged;
-- position, words, question, importance and standing are features for ranking, `place` is the coordinate in numbers.
CREATE TABLE memories (
    ns uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    type text,
    thread text COLLATE "C",
    position integer,
    speaker text COLLATE "C",
    occurred_at bigint,
    words integer,
    question boolean,
    importance double precision,
    standing boolean,
    place double precision[],
    PRIMARY KEY (ns, id)
);

CREATE INDEX live_by_time ON memories (ns, occurred_at, id) WHERE state = 'live';
CREATE INDEX live_by_type ON memories (ns, type, occurred_at, id) WHERE state = 'live';
CREATE INDEX live_by_speaker ON memories (ns, speaker, occurred_at, id) WHERE state = 'live' AND speaker IS NOT NULL;
CREATE INDEX by_thread ON memories (ns, thread, position) WHERE thread IS NOT NULL;
CREATE INDEX live_by_place ON memories (ns, (place[1]), id) WHERE state = 'live' AND place IS NOT NULL;
CREATE INDEX by_last_digits ON memories (ns, "right"(id::text, 12));

-- What each version said. `hidden` versions belong to a time before their memory was forgotten. `tags` and `payload`
-- are JSON as it was given.
CREATE TABLE versions (
    ns uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    kind text NOT NULL,
    recorded_at bigint NOT NULL,
    hidden boolean NOT NULL DEFAULT false,
    text text,
    type text,
    tags text,
    thread text,
    position integer,
    speaker text,
    occurred_at bigint,
    coordinate text,
    importance double precision,
    payload text,
    reason text,
    PRIMARY KEY (ns, id, version)
);

CREATE TABLE memory_tags (
    ns uuid NOT NULL,
    tag text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (ns, tag, id)
);

CREATE INDEX tags_of_memory ON memory_tags (ns, id);

-- The audit and the outbox in one: never text. Writers of a namespace take turns until they have committed, so
-- that its offsets become visible in order.
CREATE SEQUENCE event_offsets;

CREATE TABLE events (
    ns uuid NOT NULL,
    "offset" bigint NOT NULL DEFAULT nextval('event_offsets'),
    id uuid NOT NULL,
    version integer NOT NULL,
    kind text NOT NULL,
    time bigint NOT NULL,
    PRIMARY KEY (ns, "offset")
);

-- Mutating requests, so that the same one is never applied twice. `receipt` is JSON without text.
CREATE TABLE requests (
    ns uuid NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    receipt text NOT NULL,
    time bigint NOT NULL,
    PRIMARY KEY (ns, id)
);

CREATE INDEX requests_by_time ON requests (time);

-- Who may do what. `digest` is the SHA-256 of the token's text, which is kept nowhere; `scopes` are joined by commas.
CREATE TABLE tokens (
    id text COLLATE "C" PRIMARY KEY,
    namespace text NOT NULL,
    scopes text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    name text,
    digest bytea NOT NULL
);

CREATE TABLE counts (
    ns uuid NOT NULL,
    state text NOT NULL,
    type text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (ns, state, type)
) WITH (fillfactor = 50);

CREATE FUNCTION count_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts AS c
    SELECT ns, state, coalesce(type, ''), count(*) FROM fresh GROUP BY 1, 2, 3
    ON CONFLICT (ns, state, type) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;

CREATE FUNCTION count_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts AS c
    SELECT ns, state, type, sum(n) FROM (
        SELECT ns, state, coalesce(type, '') AS type, 1 AS n FROM fresh
        UNION ALL
        SELECT ns, state, coalesce(type, ''), -1 FROM former
    ) AS moves GROUP BY 1, 2, 3 HAVING sum(n) <> 0
    ON CONFLICT (ns, state, type) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;

CREATE TRIGGER count_new AFTER INSERT ON memories
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION count_new();

CREATE TRIGGER count_changed AFTER UPDATE ON memories
    REFERENCING OLD TABLE AS former NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION count_changed();
