-- Every destination by day, without people: hashes under a key that lies beside the store.
-- evidence: a bit for each number of the word that says what gave the name.
CREATE TABLE ledger (
    input      INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    host       INTEGER NOT NULL,
    above      BLOB NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    flows      INTEGER NOT NULL,
    evidence   INTEGER NOT NULL,
    devices    BLOB NOT NULL,
    PRIMARY KEY (input, day, host)
) STRICT, WITHOUT ROWID;

-- Which key the rows were hashed under; not the key.
CREATE TABLE ledger_key (
    fingerprint INTEGER PRIMARY KEY
) STRICT;
