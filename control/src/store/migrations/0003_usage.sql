-- What nodes sent, as it came: rollups can be made again from it, as far as it is kept.
CREATE TABLE usage_segments (
    number INTEGER PRIMARY KEY,
    node TEXT NOT NULL,
    boot INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    first_minute INTEGER NOT NULL,
    last_minute INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX usage_segments_by_age ON usage_segments (received_ms);
CREATE INDEX usage_segments_by_minute ON usage_segments (last_minute);

-- Names that nodes give by number: a route's number is a checksum of its name.
CREATE TABLE usage_routes (
    api INTEGER NOT NULL,
    route INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (api, route)
) STRICT, WITHOUT ROWID;
CREATE TABLE usage_refusals (
    number INTEGER PRIMARY KEY,
    label TEXT NOT NULL UNIQUE
) STRICT;

-- One table a step: `at` counts minutes, hours or days since 1970. `key` is the key's id, 0 for none;
-- `refusal` is 0 where the gateway did not say no. `latency` is a histogram, mergeable.
CREATE TABLE usage_minutes (
    at INTEGER NOT NULL,
    key INTEGER NOT NULL,
    api INTEGER NOT NULL,
    route INTEGER NOT NULL,
    class INTEGER NOT NULL,
    refusal INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    latency BLOB NOT NULL,
    PRIMARY KEY (at, key, api, route, class, refusal)
) STRICT, WITHOUT ROWID;
CREATE TABLE usage_hours (
    at INTEGER NOT NULL,
    key INTEGER NOT NULL,
    api INTEGER NOT NULL,
    route INTEGER NOT NULL,
    class INTEGER NOT NULL,
    refusal INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    latency BLOB NOT NULL,
    PRIMARY KEY (at, key, api, route, class, refusal)
) STRICT, WITHOUT ROWID;
CREATE TABLE usage_days (
    at INTEGER NOT NULL,
    key INTEGER NOT NULL,
    api INTEGER NOT NULL,
    route INTEGER NOT NULL,
    class INTEGER NOT NULL,
    refusal INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    latency BLOB NOT NULL,
    PRIMARY KEY (at, key, api, route, class, refusal)
) STRICT, WITHOUT ROWID;

-- Requests that nodes counted and had to drop.
CREATE TABLE usage_dropped (
    node TEXT NOT NULL,
    at INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (node, at)
) STRICT, WITHOUT ROWID;

-- Where refused credentials came from, by minute.
CREATE TABLE refused_clients (
    at INTEGER NOT NULL,
    client TEXT NOT NULL,
    unauthorized INTEGER NOT NULL,
    PRIMARY KEY (at, client)
) STRICT, WITHOUT ROWID;

-- What was counted before goes on under route 0, without latencies.
INSERT INTO usage_minutes
    SELECT minute_ms / 60000, key, api, 0, class, 0, requests, bytes_in, bytes_out, x'00' FROM usage;
INSERT INTO usage_hours
    SELECT minute_ms / 3600000 AS at, key, api, 0, class, 0, sum(requests), sum(bytes_in),
    sum(bytes_out), x'00' FROM usage GROUP BY at, key, api, class;
INSERT INTO usage_days
    SELECT minute_ms / 86400000 AS at, key, api, 0, class, 0, sum(requests), sum(bytes_in),
    sum(bytes_out), x'00' FROM usage GROUP BY at, key, api, class;
DROP TABLE usage;

-- What a plan costs: one JSON document; the nodes never see it.
ALTER TABLE plans ADD COLUMN price TEXT;
