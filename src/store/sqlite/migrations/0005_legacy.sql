-- What verifying legacy tokens costs, beside how often they are used.
ALTER TABLE token_use_days ADD COLUMN verifications INTEGER NOT NULL DEFAULT 0;
ALTER TABLE token_use_days ADD COLUMN hash_micros INTEGER NOT NULL DEFAULT 0;

-- BLAKE3 of the password hash that an upgraded token had: by it the token is known when the hash
-- is imported once more, and not taken for a new one.
ALTER TABLE tokens ADD COLUMN upgraded_from BLOB CHECK (length(upgraded_from) = 32);
CREATE UNIQUE INDEX tokens_upgraded_from ON tokens (upgraded_from)
    WHERE upgraded_from IS NOT NULL;
