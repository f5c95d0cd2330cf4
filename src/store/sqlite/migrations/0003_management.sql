-- What the management API tells of when things were made and changed, and IP rules of several
-- prefixes. What was there before counts from now on.

ALTER TABLE accounts ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN ip_rules_changed_at INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET created_at = unixepoch(), ip_rules_changed_at = unixepoch();

-- The number of a rule is that of its first prefix, also once that is gone. None: a rule of its own.
ALTER TABLE ip_rules ADD COLUMN rule_id INTEGER;
ALTER TABLE ip_rules ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE ip_rules ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ip_rules ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
UPDATE ip_rules SET created_at = unixepoch(), updated_at = unixepoch();

-- None: not changed since it was made.
ALTER TABLE tokens ADD COLUMN updated_at INTEGER;
