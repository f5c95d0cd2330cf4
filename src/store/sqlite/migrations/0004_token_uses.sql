-- Which tokens are used. Neither table is followed by gates.

CREATE TABLE token_uses (
    token_id     INTEGER PRIMARY KEY REFERENCES tokens (id),
    requests     INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    last_address TEXT
) STRICT;

-- `day` counts days since 1970-01-01, UTC.
CREATE TABLE token_use_days (
    day      INTEGER NOT NULL,
    token_id INTEGER NOT NULL REFERENCES tokens (id),
    requests INTEGER NOT NULL,
    PRIMARY KEY (day, token_id)
) STRICT, WITHOUT ROWID;

-- Before that, nothing is known of any token.
INSERT INTO meta (key, value) VALUES ('uses_since', unixepoch());
