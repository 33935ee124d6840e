-- What is recorded and not yet in the index everywhere, while indexers elsewhere follow the log. A row is made with its
-- event and leaves when its vectors are in. `sent`: the log has it; `words`: its words are in the index.
CREATE TABLE outbox (
    ns uuid NOT NULL,
    "offset" bigint NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    kind text NOT NULL,
    time bigint NOT NULL,
    sent boolean NOT NULL DEFAULT false,
    words boolean NOT NULL DEFAULT false,
    PRIMARY KEY (ns, "offset")
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_threshold = 5000
);

CREATE INDEX outbox_unsent ON outbox ("offset") WHERE NOT sent;
CREATE INDEX outbox_wordless ON outbox (ns, "offset") WHERE NOT words;
