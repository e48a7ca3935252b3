-- Where alerts are told. The secret is kept as it is: it signs, and a digest of it would not.
CREATE TABLE webhooks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    secret BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- What a rule says is one JSON document; it speaks of webhooks by name.
CREATE TABLE alert_rules (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL
) STRICT;

-- What went off, by the name of its rule, which it outlives. `subject` is empty for all requests,
-- `quota` is empty and `level` 0 where no quota is meant.
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    quota TEXT NOT NULL,
    level INTEGER NOT NULL,
    value INTEGER NOT NULL,
    total INTEGER NOT NULL,
    began_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    action TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX alerts_open ON alerts (rule, subject, quota, level) WHERE ended_ms IS NULL;
CREATE INDEX alerts_by_end ON alerts (ended_ms);
CREATE INDEX alerts_by_action ON alerts (rule, began_ms) WHERE action = 'key_disabled';

-- What is to be told to a webhook, until it was: `done_ms` is set when it was, or was given up.
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook INTEGER NOT NULL REFERENCES webhooks (number) ON DELETE CASCADE,
    message TEXT NOT NULL,
    body TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_ms INTEGER NOT NULL,
    done_ms INTEGER,
    error TEXT
) STRICT;
CREATE INDEX deliveries_due ON deliveries (next_ms) WHERE done_ms IS NULL;
CREATE INDEX deliveries_by_webhook ON deliveries (webhook, number);
