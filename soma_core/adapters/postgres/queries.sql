-- What Soma asks Postgres, by name. A query is `-- name --`, a line that says what it does, and its text.

-- lock --
-- Make other writers of these namespaces wait until this transaction has ended. Always in the same order.
SELECT pg_advisory_xact_lock(key) FROM unnest(%(keys)s::bigint[]) AS key;

-- name_namespaces --
-- Remember the names that stand behind `ns`.
INSERT INTO namespaces (ns, name) SELECT * FROM unnest(%(ns)s::uuid[], %(names)s::text[]) ON CONFLICT DO NOTHING;

-- known_requests --
-- Digest and receipt of those of these requests that were answered before.
SELECT r.ns, r.id, r.digest, r.receipt
FROM unnest(%(ns)s::uuid[], %(ids)s::text[]) AS w (ns, id) JOIN requests r ON r.ns = w.ns AND r.id = w.id;

-- standings --
-- Where the memories at these coordinates stand and, while they are live, what they say.
SELECT m.ns, m.version, m.state, m.thread, m.position, m.created_at,
    v.id, v.version, v.recorded_at, v.text, v.type, v.tags, v.thread, v.position, v.speaker, v.occurred_at,
    v.coordinate, v.importance, v.payload, m.id
FROM unnest(%(ns)s::uuid[], %(ids)s::uuid[]) AS w (ns, id) JOIN memories m ON m.ns = w.ns AND m.id = w.id
LEFT JOIN versions v ON v.ns = m.ns AND v.id = m.id AND v.version = m.version AND m.state = 'live';

-- last_positions --
-- The place of the last memory of each of these threads.
SELECT w.ns, w.thread, (SELECT max(position) FROM memories m WHERE m.ns = w.ns AND m.thread = w.thread)
FROM unnest(%(ns)s::uuid[], %(threads)s::text[]) AS w (ns, thread);

-- delete_tags --
-- Take the tags off these memories.
DELETE FROM memory_tags t USING unnest(%(ns)s::uuid[], %(ids)s::uuid[]) AS w (ns, id) WHERE t.ns = w.ns AND t.id = w.id;

-- forget --
-- Make a tombstone the next version of these memories and hide all earlier ones.
UPDATE memories SET version = version + 1, state = 'forgotten', changed_at = %(now)s
WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]);
UPDATE versions SET hidden = true WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]) AND NOT hidden;
INSERT INTO versions (ns, id, version, kind, recorded_at, hidden, reason)
SELECT ns, id, version, 'forgotten', %(now)s, true, %(reason)s FROM memories
WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]);

-- purge --
-- Remove all that these memories said.
DELETE FROM memory_tags WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]);
DELETE FROM versions WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]);
UPDATE memories SET version = version + 1, state = 'purged', changed_at = %(now)s, type = NULL, thread = NULL,
    position = NULL, speaker = NULL, occurred_at = NULL, words = NULL, question = NULL, importance = NULL,
    standing = NULL, place = NULL
WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]);

-- record_events --
-- One event for each of these memories, in the order given.
INSERT INTO events (ns, id, version, kind, time)
SELECT m.ns, m.id, m.version, %(kind)s, %(now)s
FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS w (id, n) JOIN memories m ON m.ns = %(ns)s AND m.id = w.id ORDER BY w.n;

-- erase_due --
-- Note which transaction purged last; what it removed is to be erased.
INSERT INTO meta VALUES ('erase due', pg_current_xact_id()::text) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- erasable_bytes --
-- How large the tables are that purging takes from.
SELECT sum(pg_total_relation_size(name::regclass))::bigint
FROM unnest(ARRAY['memories', 'versions', 'memory_tags', 'requests']) AS name;

-- selected --
-- These memories, and whether a forget would change them.
SELECT id, state = ANY (%(states)s) FROM memories WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]);

-- find --
-- The memories whose id ends with these twelve digits; three are enough to know that they are too many.
SELECT id FROM memories WHERE ns = %(ns)s AND "right"(id::text, 12) = %(digits)s LIMIT 3;

-- heads --
-- Where these memories stand.
SELECT id, version, state FROM memories WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]);

-- live_versions --
-- The current version of those of these memories that are live.
SELECT id, version FROM memories WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]) AND state = 'live';

-- features --
-- What ranking sees of those of these memories that are live.
SELECT id, version, type, thread, position, speaker, words, question, standing, occurred_at, importance
FROM memories WHERE ns = %(ns)s AND id = ANY (%(ids)s::uuid[]) AND state = 'live';

-- speakers --
-- The speakers that begin with these names, found by steps over the index however much each has said.
WITH RECURSIVE wanted AS (
    SELECT name, n FROM unnest(%(names)s::text[]) WITH ORDINALITY AS w (name, n)
), found AS (
    SELECT w.name, w.n, (
        SELECT min(speaker) FROM memories WHERE ns = %(ns)s AND state = 'live' AND speaker IS NOT NULL
            AND speaker >= w.name AND speaker < w.name || '!'
    ) AS speaker FROM wanted w
    UNION ALL
    SELECT f.name, f.n, (
        SELECT min(speaker) FROM memories WHERE ns = %(ns)s AND state = 'live' AND speaker IS NOT NULL
            AND speaker > f.speaker AND speaker < f.name || '!'
    ) FROM found f WHERE f.speaker IS NOT NULL
)
SELECT name, speaker FROM found WHERE speaker IS NOT NULL ORDER BY n, speaker;

-- read --
-- What those of these memories say that are live.
SELECT m.created_at, v.id, v.version, v.recorded_at, v.text, v.type, v.tags, v.thread, v.position, v.speaker,
    v.occurred_at, v.coordinate, v.importance, v.payload
FROM memories m JOIN versions v ON v.ns = m.ns AND v.id = m.id AND v.version = m.version
WHERE m.ns = %(ns)s AND m.id = ANY (%(ids)s::uuid[]) AND m.state = 'live';

-- versions --
-- What these versions say, without those that were forgotten.
SELECT m.version = v.version, m.created_at, v.id, v.version, v.recorded_at, v.text, v.type, v.tags, v.thread,
    v.position, v.speaker, v.occurred_at, v.coordinate, v.importance, v.payload
FROM unnest(%(ids)s::uuid[], %(versions)s::int[]) AS w (id, version)
JOIN versions v ON v.ns = %(ns)s AND v.id = w.id AND v.version = w.version
JOIN memories m ON m.ns = v.ns AND m.id = v.id
WHERE m.state = 'live' AND NOT v.hidden;

-- counts --
-- How many memories the namespace has of each state and type.
SELECT state, type, n FROM counts WHERE ns = %(ns)s;

-- live --
-- Every live memory.
SELECT id, version FROM memories WHERE ns = %(ns)s AND state = 'live';

-- meta --
-- One thing that the store remembers of itself.
SELECT value FROM meta WHERE key = %(key)s;

-- change_meta --
-- Remember something else, if it is still what was found.
INSERT INTO meta VALUES (%(key)s, %(value)s) ON CONFLICT (key) DO UPDATE SET value = excluded.value
WHERE meta.value = %(found)s RETURNING key;

-- forget_meta --
-- Forget it if it is still this.
DELETE FROM meta WHERE key = %(key)s AND value = %(value)s;

-- was_indexed --
-- Whether the namespace's index had a checkpoint.
SELECT indexed FROM namespaces WHERE ns = %(ns)s;

-- mark_indexed --
-- It had one.
INSERT INTO namespaces VALUES (%(ns)s, %(name)s, true) ON CONFLICT (ns) DO UPDATE SET indexed = true;

-- request --
-- Digest and receipt of a request that was answered before.
SELECT digest, receipt FROM requests WHERE ns = %(ns)s AND id = %(id)s;

-- add_request --
-- A request and the receipt it is answered with from now on.
INSERT INTO requests (ns, id, digest, receipt, time) VALUES (%(ns)s, %(id)s, %(digest)s, %(receipt)s, %(time)s);

-- expire_requests --
-- Drop some of the requests from before a moment.
WITH gone AS (
    DELETE FROM requests WHERE ctid = ANY (ARRAY(SELECT ctid FROM requests WHERE time < %(before)s LIMIT 10000))
    RETURNING 1
)
SELECT count(*) FROM gone;

-- events_after --
-- The first events after an offset.
SELECT "offset", id, version, kind, time FROM events
WHERE ns = %(ns)s AND "offset" > %(after)s ORDER BY "offset" LIMIT %(limit)s;

-- newest_events --
-- The last events after an offset, the newest first.
SELECT "offset", id, version, kind, time FROM events
WHERE ns = %(ns)s AND "offset" > %(after)s ORDER BY "offset" DESC LIMIT %(limit)s;

-- ends --
-- The last offset of every namespace that has events.
SELECT n.name, e."offset" FROM namespaces n
CROSS JOIN LATERAL (SELECT "offset" FROM events WHERE ns = n.ns ORDER BY "offset" DESC LIMIT 1) AS e;

-- end --
-- The last offset of a namespace.
SELECT "offset" FROM events WHERE ns = %(ns)s ORDER BY "offset" DESC LIMIT 1;

-- lag --
-- How many events come after an offset, counted up to a million.
SELECT count(*) FROM (SELECT 1 FROM events WHERE ns = %(ns)s AND "offset" > %(after)s LIMIT 1000000) AS later;

-- into_outbox --
-- Put the last `n` events of each of these namespaces, which are this transaction's own, into the outbox if it is in use.
INSERT INTO outbox (ns, "offset", id, version, kind, time)
SELECT w.ns, e.* FROM unnest(%(ns)s::uuid[], %(n)s::int[]) AS w (ns, n) CROSS JOIN LATERAL (
    SELECT "offset", id, version, kind, time FROM events WHERE ns = w.ns ORDER BY "offset" DESC LIMIT w.n
) AS e
WHERE EXISTS (SELECT FROM meta WHERE key = 'outbox');

-- begin_outbox --
-- Use the outbox from now on. Who wrote events without looking for it is waited for: those are there for being adopted.
LOCK TABLE events IN SHARE MODE;
INSERT INTO meta VALUES ('outbox', 'begun') ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- outbox_adopted --
-- All that was recorded before it was used has been taken in.
UPDATE meta SET value = 'adopted' WHERE key = 'outbox';

-- end_outbox --
-- Use it no longer; what waits there is found by its place among the events.
DELETE FROM meta WHERE key = 'outbox';
DELETE FROM outbox;

-- unsent --
-- The next events to send. Those of one memory have growing offsets.
SELECT ns, "offset", id, version, kind, time FROM outbox WHERE NOT sent ORDER BY "offset" LIMIT %(limit)s;

-- names --
-- The names that stand behind these `ns`.
SELECT ns, name FROM namespaces WHERE ns = ANY (%(ns)s::uuid[]);

-- unhurried --
-- Commit before this transaction is on the disk: should a crash of the server take it, it is done again.
SET LOCAL synchronous_commit = off;

-- lock_waiting --
-- Lock those of these events that are in the outbox, in the order given: all who mark them do so first and in the same
-- order, so that nobody waits in a circle.
SELECT count(*) FROM unnest(%(ns)s::uuid[], %(offsets)s::bigint[]) AS w (ns, "offset") CROSS JOIN LATERAL (
    SELECT 1 FROM outbox WHERE ns = w.ns AND "offset" = w."offset" FOR UPDATE
) AS o;

-- mark_sent --
-- The log has these, which are locked.
UPDATE outbox SET sent = true WHERE ctid = ANY (ARRAY(
    SELECT o.at FROM unnest(%(ns)s::uuid[], %(offsets)s::bigint[]) AS w (ns, "offset") CROSS JOIN LATERAL (
        SELECT ctid AS at FROM outbox WHERE ns = w.ns AND "offset" = w."offset" LIMIT 1
    ) AS o
)) AND NOT sent;

-- mark_words --
-- The words of these, which are locked, are in the index of a generation. Whether this generation serves.
WITH serving AS (
    SELECT coalesce(max((value::json #>> '{serving,number}')::int), %(generation)s) = %(generation)s AS is_mine
    FROM meta WHERE key = 'generations'
), marked AS (
    UPDATE outbox SET words = true WHERE (SELECT is_mine FROM serving) AND NOT words AND ctid = ANY (ARRAY(
        SELECT o.at FROM unnest(%(ns)s::uuid[], %(offsets)s::bigint[]) AS w (ns, "offset") CROSS JOIN LATERAL (
            SELECT ctid AS at FROM outbox WHERE ns = w.ns AND "offset" = w."offset" LIMIT 1
        ) AS o
    ))
)
SELECT is_mine FROM serving;

-- mark_vectors --
-- All of these, which are locked, is in the index of a generation. Whether this generation serves.
WITH serving AS (
    SELECT coalesce(max((value::json #>> '{serving,number}')::int), %(generation)s) = %(generation)s AS is_mine
    FROM meta WHERE key = 'generations'
), marked AS (
    DELETE FROM outbox WHERE (SELECT is_mine FROM serving) AND ctid = ANY (ARRAY(
        SELECT o.at FROM unnest(%(ns)s::uuid[], %(offsets)s::bigint[]) AS w (ns, "offset") CROSS JOIN LATERAL (
            SELECT ctid AS at FROM outbox WHERE ns = w.ns AND "offset" = w."offset" LIMIT 1
        ) AS o
    ))
)
SELECT is_mine FROM serving;

-- waiting --
-- What is in the outbox at the places of these events, and whether its words are in the index.
SELECT o.* FROM unnest(%(ns)s::uuid[], %(offsets)s::bigint[]) AS w (ns, "offset") CROSS JOIN LATERAL (
    SELECT ns, "offset", id, version, kind, words FROM outbox WHERE ns = w.ns AND "offset" = w."offset" LIMIT 1
) AS o;

-- newest_wordless --
-- The last events whose words are not in the index, the newest first.
SELECT "offset", id, version, kind, time FROM outbox
WHERE ns = %(ns)s AND NOT words ORDER BY "offset" DESC LIMIT %(limit)s;

-- held --
-- All that waits, and how far each has come.
SELECT "offset", id, version, kind, time, sent, words FROM outbox WHERE ns = %(ns)s ORDER BY "offset";

-- backlog --
-- How many events wait for their words, how many for their vectors, both counted up to a million, since when, and for the
-- index of which generation.
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE ns = %(ns)s AND NOT words LIMIT 1000000) AS w),
    (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE ns = %(ns)s LIMIT 1000000) AS v),
    (SELECT time FROM outbox WHERE ns = %(ns)s ORDER BY "offset" LIMIT 1),
    (SELECT (value::json #>> '{serving,number}')::int FROM meta WHERE key = 'generations');

-- adopt --
-- Put some of the events after an offset into the outbox, and to be sent again those that are there; the last one's
-- offset, and how many were not there.
WITH next AS (
    SELECT ns, "offset", id, version, kind, time FROM events
    WHERE ns = %(ns)s AND "offset" > %(after)s ORDER BY "offset" LIMIT %(limit)s
), taken AS (
    INSERT INTO outbox (ns, "offset", id, version, kind, time) SELECT * FROM next
    ON CONFLICT (ns, "offset") DO UPDATE SET sent = false, words = false RETURNING "offset", xmax = 0 AS fresh
)
SELECT max("offset"), count(*) FILTER (WHERE fresh) FROM taken;

-- add_token --
-- Keep a token; nothing when its id is taken by another one.
INSERT INTO tokens AS t (id, namespace, scopes, created_at, expires_at, revoked_at, name, digest)
VALUES (%(id)s, %(namespace)s, %(scopes)s, %(created)s, %(expires)s, %(revoked)s, %(name)s, %(digest)s)
ON CONFLICT (id) DO UPDATE SET digest = excluded.digest
WHERE t.digest = excluded.digest AND t.namespace = excluded.namespace
RETURNING 1;

-- find_token --
-- The token with an id.
SELECT id, namespace, scopes, created_at, expires_at, revoked_at, name, digest FROM tokens WHERE id = %(id)s;

-- tokens --
-- Every token.
SELECT id, namespace, scopes, created_at, expires_at, revoked_at, name FROM tokens ORDER BY created_at, id;

-- revoke_token --
-- Make a token good for nothing; the first moment stays.
UPDATE tokens SET revoked_at = coalesce(revoked_at, %(at)s) WHERE id = %(id)s
RETURNING id, namespace, scopes, created_at, expires_at, revoked_at, name;

-- problems --
-- What does not fit together; reads every row.
SELECT count(*) || ' live memories without what they say' FROM memories m
WHERE state = 'live' AND NOT EXISTS (SELECT FROM versions v WHERE v.ns = m.ns AND v.id = m.id AND v.version = m.version
    AND v.text IS NOT NULL) HAVING count(*) > 0
UNION ALL
SELECT count(*) || ' versions without their memory' FROM versions v
WHERE NOT EXISTS (SELECT FROM memories m WHERE m.ns = v.ns AND m.id = v.id) HAVING count(*) > 0
UNION ALL
SELECT count(*) || ' memories whose last change has no event' FROM memories m
WHERE NOT EXISTS (SELECT FROM (SELECT ns, id, max(version) AS version FROM events GROUP BY 1, 2) AS e
    WHERE e.ns = m.ns AND e.id = m.id AND e.version = m.version) HAVING count(*) > 0
UNION ALL
SELECT count(*) || ' counts that are not those of the memories' FROM (
    SELECT ns, state, coalesce(type, '') AS type, count(*) AS n FROM memories GROUP BY 1, 2, 3
) AS real FULL JOIN (SELECT * FROM counts WHERE n <> 0) AS kept USING (ns, state, type)
WHERE real.n IS DISTINCT FROM kept.n HAVING count(*) > 0;

-- take_turn --
-- Take a turn, unless another connection has it.
SELECT pg_try_advisory_lock(%(number)s);

-- keep_turn --
-- The connection that has a turn still lives.
SELECT true;

-- turn_holder --
-- Who has a turn.
SELECT a.application_name, host(a.client_addr) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %(high)s AND l.objid = %(low)s AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());
