-- The store as first made. Times are seconds since the Unix epoch, UTC.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    id               INTEGER PRIMARY KEY,
    name             TEXT NOT NULL,
    plan             TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    ip_rules_enabled INTEGER NOT NULL CHECK (ip_rules_enabled IN (0, 1))
) STRICT;

CREATE TABLE projects (
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    id         INTEGER NOT NULL,
    name       TEXT NOT NULL,
    PRIMARY KEY (account_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    id         INTEGER NOT NULL,
    name       TEXT NOT NULL,
    licence    TEXT NOT NULL,
    admin      INTEGER NOT NULL CHECK (admin IN (0, 1)),
    PRIMARY KEY (account_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE ip_rules (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    action     TEXT NOT NULL CHECK (action IN ('allow', 'deny')),
    cidr       TEXT NOT NULL,
    name       TEXT NOT NULL,
    UNIQUE (account_id, cidr)
) STRICT;
CREATE INDEX ip_rules_account ON ip_rules (account_id);

CREATE TABLE id_index (
    account_id           INTEGER NOT NULL,
    index_name           TEXT NOT NULL,
    id                   INTEGER NOT NULL,
    project_id           INTEGER NOT NULL,
    environment_category TEXT,
    PRIMARY KEY (account_id, index_name, id),
    FOREIGN KEY (account_id, project_id) REFERENCES projects (account_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX id_index_project ON id_index (account_id, project_id);

-- A user or a project may be removed while tokens still name it, so neither is a foreign key.
CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    user_id    INTEGER,
    state      TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
    created_at INTEGER NOT NULL,
    not_before INTEGER,
    expires_at INTEGER,
    allow_ips  TEXT NOT NULL,
    key_id     TEXT,
    digest     BLOB CHECK (length(digest) = 32),
    sha256     BLOB CHECK (length(sha256) = 32),
    hash       TEXT,
    introspect INTEGER NOT NULL CHECK (introspect IN (0, 1)),
    selector   TEXT,
    rotated_to INTEGER REFERENCES tokens (id),
    version    INTEGER NOT NULL,
    CHECK ((digest IS NOT NULL) + (sha256 IS NOT NULL) + (hash IS NOT NULL) + introspect = 1),
    CHECK ((digest IS NULL) = (key_id IS NULL)),
    CHECK (selector IS NULL OR hash IS NOT NULL OR introspect = 1)
) STRICT;
CREATE UNIQUE INDEX tokens_digest ON tokens (digest) WHERE digest IS NOT NULL;
CREATE UNIQUE INDEX tokens_sha256 ON tokens (sha256) WHERE sha256 IS NOT NULL;
CREATE UNIQUE INDEX tokens_hash ON tokens (hash) WHERE hash IS NOT NULL;
CREATE INDEX tokens_introspect ON tokens (account_id, name) WHERE introspect = 1;
CREATE INDEX tokens_account ON tokens (account_id);
CREATE INDEX tokens_user ON tokens (account_id, user_id) WHERE user_id IS NOT NULL;
-- What the slow lane looks candidates up by; both are kept short by `candidates_limit`.
CREATE INDEX tokens_selector ON tokens (selector)
    WHERE selector IS NOT NULL AND state = 'active';
CREATE INDEX tokens_unselected ON tokens (account_id)
    WHERE digest IS NULL AND sha256 IS NULL AND selector IS NULL AND state = 'active';

CREATE TABLE grants (
    token_id       INTEGER NOT NULL REFERENCES tokens (id),
    position       INTEGER NOT NULL,
    permission_set TEXT NOT NULL,
    project_id     INTEGER,
    categories     TEXT NOT NULL,
    PRIMARY KEY (token_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_log (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    actor_ip   TEXT,
    event      TEXT NOT NULL,
    account_id INTEGER,
    subject    TEXT NOT NULL,
    detail     TEXT NOT NULL
) STRICT;

-- What followers follow. `kind` is `account`, `token`, `id` or `rebase`; only `id` has a name.
CREATE TABLE changes (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL CHECK (kind IN ('account', 'token', 'id', 'rebase')),
    account_id INTEGER,
    subject    INTEGER,
    index_name TEXT
) STRICT;
CREATE INDEX changes_rebase ON changes (position) WHERE kind = 'rebase';
