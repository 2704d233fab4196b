-- One row for each credential ever issued. The plaintext is nowhere.
CREATE TABLE credentials (
    -- Counts up in the order of issuing, and pages through it.
    id INTEGER PRIMARY KEY,
    -- HMAC-SHA256 as 64 lowercase hexadecimal digits.
    credential_hash TEXT NOT NULL UNIQUE,
    -- The fingerprint of the secret that made the hash.
    key_id TEXT NOT NULL,
    -- The worker that issued it.
    worker_id TEXT NOT NULL,
    -- Milliseconds since the Unix epoch, UTC.
    issued_at INTEGER NOT NULL
);
