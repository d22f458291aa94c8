-- Who: persons, and what ties them and devices to addresses at a time.

-- A person by login, or by pseudonym if names must not be here.
CREATE TABLE person (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user       TEXT NOT NULL UNIQUE,
    department TEXT
) STRICT;

-- The same actors, each now with the person at the device, if one is known (0 for none);
-- relation, source and many are numbers of identity/mod.rs, -1 for none.
CREATE TABLE actor_who (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    realm        INTEGER NOT NULL,
    addr         TEXT NOT NULL,
    mac          TEXT NOT NULL,
    person       INTEGER NOT NULL,
    relation     INTEGER NOT NULL,
    source       INTEGER NOT NULL,
    many         INTEGER NOT NULL,
    device       INTEGER NOT NULL,
    host_name    TEXT,
    host_name_at INTEGER NOT NULL,
    UNIQUE (realm, addr, mac, person, relation, source, many)
) STRICT;
INSERT INTO actor_who
    SELECT id, realm, addr, mac, 0, -1, -1, -1, device, host_name, host_name_at FROM actor;
-- Ids are never used twice, also not those of actors that are gone.
DELETE FROM sqlite_sequence WHERE name = 'actor_who';
INSERT INTO sqlite_sequence SELECT 'actor_who', seq FROM sqlite_sequence WHERE name = 'actor';
DROP TABLE actor;
ALTER TABLE actor_who RENAME TO actor;
CREATE INDEX actor_mac ON actor (realm, mac);
CREATE INDEX actor_device ON actor (device);
CREATE INDEX actor_person ON actor (person);

-- Persons of a finding, each with his or her part.
CREATE TABLE finding_person (
    finding    INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    item       INTEGER NOT NULL,
    person     INTEGER NOT NULL,
    relation   INTEGER NOT NULL,
    source     INTEGER NOT NULL,
    many       INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    bytes_up   INTEGER NOT NULL,
    PRIMARY KEY (finding, revision, item),
    FOREIGN KEY (finding, revision)
        REFERENCES finding_revision (finding, revision) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Times in which an address belonged to a device.
CREATE TABLE binding (
    input    INTEGER NOT NULL,
    realm    INTEGER NOT NULL,
    addr     TEXT NOT NULL,
    mac      TEXT NOT NULL,
    began    INTEGER NOT NULL,
    ended    INTEGER NOT NULL,
    source   INTEGER NOT NULL,
    disputed INTEGER NOT NULL,
    PRIMARY KEY (input, realm, addr, began, mac)
) STRICT, WITHOUT ROWID;
CREATE INDEX binding_addr ON binding (addr, began);
CREATE INDEX binding_mac ON binding (mac);

-- What devices say of themselves: names, and systems that they run.
CREATE TABLE said (
    input      INTEGER NOT NULL,
    realm      INTEGER NOT NULL,
    mac        TEXT NOT NULL,
    is_name    INTEGER NOT NULL,
    text       TEXT NOT NULL,
    source     INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (input, realm, mac, is_name, text, source)
) STRICT, WITHOUT ROWID;

-- Times in which a person was at an address.
CREATE TABLE stay (
    input     INTEGER NOT NULL,
    realm     INTEGER NOT NULL,
    addr      TEXT NOT NULL,
    person    INTEGER NOT NULL,
    began     INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    ended     INTEGER NOT NULL,
    source    INTEGER NOT NULL,
    PRIMARY KEY (input, realm, addr, person, began, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX stay_addr ON stay (addr, began);

-- Addresses that stand for many people.
CREATE TABLE shared (
    input INTEGER NOT NULL,
    realm INTEGER NOT NULL,
    addr  TEXT NOT NULL,
    many  INTEGER NOT NULL,
    PRIMARY KEY (input, realm, addr, many)
) STRICT, WITHOUT ROWID;

-- Under which privacy mode the store is written; readers show no more than that.
CREATE TABLE privacy (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    mode INTEGER NOT NULL
) STRICT;
