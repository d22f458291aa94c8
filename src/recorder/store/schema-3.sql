-- What people decided about a subject (a service, a candidate host, a blind spot): added to, never changed; the
-- newest holds. Days are texts (YYYY-MM-DD), as people write them. data_until is the newest capture time the
-- decision could rest on.
CREATE TABLE decision (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    subject        TEXT NOT NULL,
    state          INTEGER NOT NULL,
    disposition    INTEGER,
    scope          TEXT NOT NULL,
    owner          TEXT,
    reason         TEXT,
    decided        TEXT,
    due            TEXT,
    expires        TEXT,
    policy_version TEXT NOT NULL,
    data_until     INTEGER NOT NULL
) STRICT;
CREATE INDEX decision_subject ON decision (subject, id);
