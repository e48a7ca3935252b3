-- The ever-growing number of changes and publications, and where the configuration is held since
-- a rollback.
CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL,
    held_configuration INTEGER
) STRICT;
INSERT INTO clock (one, generation) VALUES (1, 0);

CREATE TABLE tenants (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_ms INTEGER NOT NULL,
    deleted_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX tenants_by_name ON tenants (name) WHERE deleted_ms IS NULL;

-- `changed`: the generation number of the last change that the data plane has to learn of. An
-- overlay is every row above its base's generation.
CREATE TABLE apps (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL REFERENCES tenants (number),
    name TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_ms INTEGER NOT NULL,
    deleted_ms INTEGER,
    changed INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX apps_by_name ON apps (tenant, name) WHERE deleted_ms IS NULL;
CREATE INDEX apps_by_change ON apps (changed);

-- `id` is 64 random bits, kept as SQLite's signed integer.
CREATE TABLE keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL UNIQUE CHECK (id <> 0),
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 16),
    pepper INTEGER NOT NULL CHECK (pepper BETWEEN 0 AND 255),
    app INTEGER NOT NULL REFERENCES apps (number),
    environment TEXT NOT NULL CHECK (environment IN ('live', 'test')),
    state TEXT NOT NULL CHECK (state IN ('active', 'disabled', 'revoked')),
    not_before_s INTEGER CHECK (not_before_s > 0),
    not_after_s INTEGER CHECK (not_after_s > 0),
    attributes TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('issued', 'imported', 'imported_sha256')),
    rotated_from INTEGER,
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    changed INTEGER NOT NULL,
    CHECK ((state = 'revoked') = (revoked_ms IS NOT NULL))
) STRICT;
CREATE INDEX keys_by_app ON keys (app, number);
CREATE INDEX keys_by_change ON keys (changed);
-- The catalog tells the nodes which foreign forms exist; this keeps the question small.
CREATE INDEX keys_of_foreign_form ON keys (origin) WHERE origin <> 'issued';

-- A revocation is final, whoever holds the pen.
CREATE TRIGGER keys_stay_revoked BEFORE UPDATE ON keys WHEN old.state = 'revoked'
BEGIN SELECT raise(ABORT, 'a revoked key does not change'); END;
CREATE TRIGGER keys_stay BEFORE DELETE ON keys
BEGIN SELECT raise(ABORT, 'a key''s row outlives its key'); END;

-- What is only ever read whole is one JSON document; what is referred to is a column.
CREATE TABLE upstreams (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL
) STRICT;

CREATE TABLE apis (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    upstream INTEGER NOT NULL REFERENCES upstreams (number),
    spec TEXT NOT NULL
) STRICT;
CREATE INDEX apis_by_upstream ON apis (upstream);

CREATE TABLE plans (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE plan_apis (
    plan INTEGER NOT NULL REFERENCES plans (number),
    api INTEGER NOT NULL REFERENCES apis (number),
    PRIMARY KEY (plan, api)
) STRICT, WITHOUT ROWID;
CREATE INDEX plan_apis_by_api ON plan_apis (api);

CREATE TABLE limits (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    plan INTEGER NOT NULL REFERENCES plans (number),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    spec TEXT NOT NULL,
    UNIQUE (plan, name)
) STRICT;

CREATE TABLE subscriptions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    app INTEGER NOT NULL REFERENCES apps (number),
    api INTEGER NOT NULL REFERENCES apis (number),
    plan INTEGER NOT NULL REFERENCES plans (number),
    state TEXT NOT NULL CHECK (state IN ('requested', 'approved', 'suspended', 'cancelled')),
    created_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX subscriptions_in_force ON subscriptions (app, api) WHERE state <> 'cancelled';
CREATE INDEX subscriptions_by_app ON subscriptions (app, number);
CREATE INDEX subscriptions_by_plan ON subscriptions (plan, api);
CREATE INDEX subscriptions_by_api ON subscriptions (api);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    generation INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    before TEXT,
    after TEXT
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, subject_id, number);
CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;

CREATE TABLE idempotency (
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL CHECK (length(request) = 32),
    answer TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (at_ms);

CREATE TABLE tokens (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    label TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    created_ms INTEGER NOT NULL,
    withdrawn_ms INTEGER
) STRICT;

-- Plans, APIs and upstreams as they were after each change of them: what a rollback steps back to.
CREATE TABLE configurations (
    generation INTEGER PRIMARY KEY,
    document TEXT NOT NULL
) STRICT;

CREATE TABLE publications (
    generation INTEGER PRIMARY KEY,
    base INTEGER NOT NULL,
    configuration INTEGER NOT NULL,
    begun_ms INTEGER NOT NULL,
    done_ms INTEGER,
    keys INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    rollback INTEGER NOT NULL CHECK (rollback IN (0, 1))
) STRICT;

CREATE TABLE receipts (
    generation INTEGER NOT NULL REFERENCES publications (generation) ON DELETE CASCADE,
    node TEXT NOT NULL,
    workers INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL,
    PRIMARY KEY (generation, node)
) STRICT, WITHOUT ROWID;

-- Processes that were connected as nodes when control last looked: after a restart control waits for
-- those that still live. `boot` is 64 random bits, kept as SQLite's signed integer.
CREATE TABLE nodes (
    name TEXT NOT NULL,
    boot INTEGER NOT NULL,
    workers INTEGER NOT NULL,
    pid INTEGER,
    started INTEGER,
    PRIMARY KEY (name, boot)
) STRICT, WITHOUT ROWID;

-- The last batch of each boot: batches have no gaps, so one number tells which were counted.
CREATE TABLE usage_batches (
    node TEXT NOT NULL,
    boot INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (node, boot)
) STRICT, WITHOUT ROWID;

-- `key` is the key's id, 0 for none.
CREATE TABLE usage (
    number INTEGER PRIMARY KEY,
    minute_ms INTEGER NOT NULL,
    key INTEGER NOT NULL,
    api INTEGER NOT NULL,
    class INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX usage_by_minute ON usage (minute_ms, key, api, class);
CREATE INDEX usage_by_key ON usage (key, number);

CREATE TABLE last_used (
    key INTEGER PRIMARY KEY,
    minute_ms INTEGER NOT NULL
) STRICT;
