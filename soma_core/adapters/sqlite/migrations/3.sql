-- From schema 2 to 3: importance beside the other features for ranking.

ALTER TABLE memories ADD COLUMN importance REAL;

UPDATE memories SET importance = (
    SELECT v.importance FROM versions v WHERE v.id = memories.id AND v.version = memories.version
);
