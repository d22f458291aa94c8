-- Alerts that a receiver will never take: they are put aside, and those behind them go on.
CREATE TABLE dead_letter (
    sink     TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    why      TEXT NOT NULL,
    payload  TEXT NOT NULL,
    PRIMARY KEY (sink, seq)
) STRICT, WITHOUT ROWID;

-- How it goes with a sink.
CREATE TABLE sink_state (
    sink      TEXT PRIMARY KEY,
    delivered INTEGER NOT NULL,
    failures  INTEGER NOT NULL,
    trouble   TEXT
) STRICT, WITHOUT ROWID;

-- What is told at the end of its day: findings that raised no alert of their own, and hosts
-- outside the catalogue that were new.
CREATE TABLE held (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    day     INTEGER NOT NULL,
    finding INTEGER REFERENCES finding (id) ON DELETE CASCADE,
    host    TEXT,
    rules   TEXT NOT NULL,
    UNIQUE (finding),
    UNIQUE (day, host)
) STRICT;

-- When a candidate was first seen: it is new once.
CREATE INDEX candidate_host ON candidate (host);
CREATE INDEX outbox_time ON outbox (time);

CREATE INDEX actor_device ON actor (device);
CREATE INDEX finding_actor ON finding (actor, service, day);

-- Devices whose traffic goes where nobody can look: security edges, relays, tunnels.
CREATE TABLE hidden (
    input      INTEGER NOT NULL,
    actor      INTEGER NOT NULL,
    behind     INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    flows      INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (input, actor, behind)
) STRICT, WITHOUT ROWID;
