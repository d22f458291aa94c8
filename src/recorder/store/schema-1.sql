-- Times are nanoseconds since the epoch; words of judgement are the numbers of words.rs.

-- Texts of the catalogue and the policy that many rows share; none names a person.
CREATE TABLE word (
    id   INTEGER PRIMARY KEY,
    word TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE input (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    frames     INTEGER NOT NULL,
    first_time INTEGER NOT NULL,
    last_time  INTEGER NOT NULL,
    fault      TEXT,
    sensor     TEXT
) STRICT;

-- device: the first actor with the same link address in the realm, else the actor itself.
-- Ids are never used twice (AUTOINCREMENT), so that a device is never mistaken for a later one.
CREATE TABLE actor (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    realm        INTEGER NOT NULL,
    addr         TEXT NOT NULL,
    mac          TEXT NOT NULL,
    device       INTEGER NOT NULL,
    host_name    TEXT,
    host_name_at INTEGER NOT NULL,
    UNIQUE (realm, addr, mac)
) STRICT;
CREATE INDEX actor_mac ON actor (realm, mac);

CREATE TABLE usage (
    input             INTEGER NOT NULL,
    hour              INTEGER NOT NULL,
    actor             INTEGER NOT NULL,
    service           INTEGER NOT NULL,
    role              INTEGER NOT NULL,
    pattern           INTEGER NOT NULL,
    client_class      INTEGER NOT NULL,
    level             INTEGER NOT NULL,
    evidence          INTEGER NOT NULL,
    disposition       INTEGER NOT NULL,
    policy_version    INTEGER NOT NULL,
    signature_version INTEGER NOT NULL,
    bytes_up          INTEGER NOT NULL,
    bytes_down        INTEGER NOT NULL,
    flows             INTEGER NOT NULL,
    first_seen        INTEGER NOT NULL,
    last_seen         INTEGER NOT NULL,
    PRIMARY KEY (input, hour, actor, service, role, pattern, client_class, level, evidence)
) STRICT, WITHOUT ROWID;

-- "from" and "until" of presence, without a gap of half an hour.
CREATE TABLE session (
    input       INTEGER NOT NULL,
    actor       INTEGER NOT NULL,
    service     INTEGER NOT NULL,
    started     INTEGER NOT NULL,
    ended       INTEGER NOT NULL,
    level       INTEGER NOT NULL,
    disposition INTEGER NOT NULL,
    PRIMARY KEY (input, actor, service, started)
) STRICT, WITHOUT ROWID;

-- What never changes of a finding, and which of its revisions holds.
CREATE TABLE finding (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    key           TEXT NOT NULL UNIQUE,
    input         INTEGER NOT NULL,
    actor         INTEGER NOT NULL,
    service       INTEGER NOT NULL,
    day           INTEGER NOT NULL,
    revision      INTEGER NOT NULL,
    evidence_more INTEGER NOT NULL
) STRICT;
CREATE INDEX finding_input ON finding (input);
CREATE INDEX finding_service_day ON finding (service, day);

CREATE TABLE finding_revision (
    finding           INTEGER NOT NULL REFERENCES finding (id) ON DELETE CASCADE,
    revision          INTEGER NOT NULL,
    withdrawn         INTEGER NOT NULL,
    alerted           INTEGER NOT NULL,
    host_name         TEXT,
    service_name      INTEGER NOT NULL,
    vendor            INTEGER NOT NULL,
    category          INTEGER NOT NULL,
    pattern           INTEGER NOT NULL,
    client_class      INTEGER NOT NULL,
    level             INTEGER NOT NULL,
    disposition       INTEGER NOT NULL,
    policy            INTEGER NOT NULL,
    policy_version    INTEGER NOT NULL,
    signature_version INTEGER NOT NULL,
    severity          INTEGER NOT NULL,
    reasons           TEXT NOT NULL,
    title             TEXT NOT NULL,
    next_steps        TEXT NOT NULL,
    bytes_up          INTEGER NOT NULL,
    bytes_down        INTEGER NOT NULL,
    flows             INTEGER NOT NULL,
    first_seen        INTEGER NOT NULL,
    last_seen         INTEGER NOT NULL,
    PRIMARY KEY (finding, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
    finding          INTEGER NOT NULL REFERENCES finding (id) ON DELETE CASCADE,
    item             INTEGER NOT NULL,
    time             INTEGER NOT NULL,
    community_id     TEXT NOT NULL,
    capture          TEXT NOT NULL,
    first_frame      INTEGER NOT NULL,
    name_frame       INTEGER NOT NULL,
    last_frame       INTEGER NOT NULL,
    wireshark_filter TEXT NOT NULL,
    transport        INTEGER NOT NULL,
    client_addr      TEXT NOT NULL,
    client_port      INTEGER NOT NULL,
    server_addr      TEXT NOT NULL,
    server_port      INTEGER NOT NULL,
    kind             INTEGER NOT NULL,
    name             TEXT NOT NULL,
    ja4              TEXT,
    client_class     INTEGER NOT NULL,
    client_evidence  TEXT NOT NULL,
    PRIMARY KEY (finding, item)
) STRICT, WITHOUT ROWID;

CREATE TABLE candidate (
    input      INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    host       TEXT NOT NULL,
    grammars   TEXT NOT NULL,
    evidence   TEXT NOT NULL,
    flows      INTEGER NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    actors     INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (input, day, host, grammars)
) STRICT, WITHOUT ROWID;

CREATE TABLE destination (
    input      INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    name       TEXT NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    flows      INTEGER NOT NULL,
    devices    INTEGER NOT NULL,
    PRIMARY KEY (input, day, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE coverage (
    input INTEGER NOT NULL,
    name  TEXT NOT NULL,
    count INTEGER NOT NULL,
    part_of TEXT,
    PRIMARY KEY (input, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE open_flow (
    input        INTEGER NOT NULL,
    realm        INTEGER NOT NULL,
    transport    INTEGER NOT NULL,
    client_addr  TEXT NOT NULL,
    client_port  INTEGER NOT NULL,
    server_addr  TEXT NOT NULL,
    server_port  INTEGER NOT NULL,
    service      INTEGER NOT NULL,
    role         INTEGER NOT NULL,
    pattern      INTEGER NOT NULL,
    name         TEXT NOT NULL,
    evidence     INTEGER NOT NULL,
    client_class INTEGER NOT NULL,
    level        INTEGER NOT NULL,
    ja4          TEXT,
    bytes_up     INTEGER NOT NULL,
    bytes_down   INTEGER NOT NULL,
    first_seen   INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    ended        INTEGER NOT NULL,
    next_seq_up   INTEGER NOT NULL,
    next_seq_down INTEGER NOT NULL,
    hello_bytes   INTEGER NOT NULL,
    PRIMARY KEY (input, realm, transport, client_addr, client_port, server_addr, server_port)
) STRICT, WITHOUT ROWID;
CREATE INDEX open_flow_last_seen ON open_flow (last_seen);

-- Numbers only rise (AUTOINCREMENT), so that a sink's cursor stays true when old rows go.
CREATE TABLE outbox (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    time     INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    payload  TEXT NOT NULL
) STRICT;

CREATE TABLE sink_cursor (
    sink TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was told already. device 0 and day 0 stand for "any".
CREATE TABLE alert_memory (
    rule    INTEGER NOT NULL,
    service INTEGER NOT NULL,
    device  INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    time    INTEGER NOT NULL,
    PRIMARY KEY (rule, service, device, day)
) STRICT, WITHOUT ROWID;

-- What the store itself left out or forgot.
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
