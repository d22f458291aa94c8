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
