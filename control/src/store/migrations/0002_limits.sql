-- Limits belong to a plan or to an API. A number is never given twice, so the sequence goes on.
CREATE TABLE limits_of_both (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    plan INTEGER REFERENCES plans (number),
    api INTEGER REFERENCES apis (number),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    spec TEXT NOT NULL,
    CHECK ((plan IS NULL) <> (api IS NULL))
) STRICT;
INSERT INTO limits_of_both (number, plan, name, position, spec)
    SELECT number, plan, name, position, spec FROM limits;
DELETE FROM sqlite_sequence WHERE name = 'limits_of_both';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'limits_of_both', seq FROM sqlite_sequence WHERE name = 'limits';
DROP TABLE limits;
ALTER TABLE limits_of_both RENAME TO limits;
CREATE UNIQUE INDEX limits_by_plan ON limits (plan, name) WHERE plan IS NOT NULL;
CREATE UNIQUE INDEX limits_by_api ON limits (api, name) WHERE api IS NOT NULL;

-- Above the limits of plans.
ALTER TABLE keys ADD COLUMN unlimited INTEGER NOT NULL DEFAULT 0 CHECK (unlimited IN (0, 1));
ALTER TABLE apps ADD COLUMN unlimited INTEGER NOT NULL DEFAULT 0 CHECK (unlimited IN (0, 1));
