-- The audit log becomes a chain: see src/store/audit/chain.rs. What was written before is taken
-- over, in order, by the program. `hash` covers every column before it, and hash and seal of the
-- entry before.
ALTER TABLE audit_log RENAME TO unchained_log;

CREATE TABLE audit_log (
    sequence     INTEGER PRIMARY KEY,
    created_at   INTEGER NOT NULL,
    actor_type   TEXT NOT NULL,
    actor_id     INTEGER,
    actor_name   TEXT NOT NULL,
    actor_ip     TEXT,
    event_type   TEXT NOT NULL,
    account_id   INTEGER,
    subject_type TEXT NOT NULL,
    subject_id   TEXT,
    before       TEXT,
    after        TEXT,
    key_id       TEXT NOT NULL,
    hash         BLOB NOT NULL,
    seal         BLOB NOT NULL
) STRICT;
