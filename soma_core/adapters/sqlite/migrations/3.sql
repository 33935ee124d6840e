-- From schema 2 to 3: importance and standing instructions beside the other features for ranking.

ALTER TABLE memories ADD COLUMN importance REAL;
ALTER TABLE memories ADD COLUMN standing INTEGER;

UPDATE memories SET (importance, standing) = (
    SELECT v.importance,
        v.text LIKE 'always %' OR v.text LIKE 'please always %' OR v.text LIKE 'please never %'
        OR v.text LIKE 'from now on%' OR v.text LIKE 'whenever i %' OR v.text LIKE 'every time i %'
        OR (v.text LIKE 'never %' AND v.text NOT LIKE 'never mind%')
    FROM versions v WHERE v.id = memories.id AND v.version = memories.version
) WHERE type IS NOT NULL;
