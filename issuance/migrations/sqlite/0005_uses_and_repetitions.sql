-- A number of uses, and requests that may be repeated.

-- How often a credential can be used; null for any number, which is then not counted.
ALTER TABLE credentials ADD COLUMN max_uses INTEGER;

ALTER TABLE credentials ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;

-- The request that issued it, if it had an idempotency key: a keyed hash of issuer and key, the credential's place in the
-- request, and a keyed hash of the request's content. A repetition is recognised by them.
ALTER TABLE credentials ADD COLUMN request_tag TEXT;

ALTER TABLE credentials ADD COLUMN request_index INTEGER;

ALTER TABLE credentials ADD COLUMN request_fingerprint TEXT;

CREATE UNIQUE INDEX credentials_by_request ON credentials (request_tag, request_index) WHERE request_tag IS NOT NULL;

-- Lists of what is used up.
CREATE INDEX credentials_limited ON credentials (issued_at, id) WHERE max_uses IS NOT NULL;

-- The uses of the last day that a repeated verification is granted again.
CREATE TABLE uses (
    -- A keyed hash of verifier, idempotency key and credential. A use has one under each secret, for verifications that know
    -- only one of them.
    tag TEXT PRIMARY KEY,
    -- Which use of the credential it was, from 1.
    number INTEGER NOT NULL,
    -- Milliseconds since the Unix epoch, by this database's clock.
    used_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX uses_by_time ON uses (used_at);

-- Verifications that ask for a use are written to this view, which takes it unless it was refused or had been taken before.
CREATE VIEW use_attempts AS
SELECT NULL AS place, credential_hash, NULL AS tags, NULL AS number, NULL AS taken, NULL AS status, NULL AS uses_left,
    expires_at, revoked_at
FROM credentials WHERE false;

CREATE TRIGGER use_attempt INSTEAD OF INSERT ON use_attempts WHEN new.taken BEGIN
    UPDATE credentials SET uses = uses + 1 WHERE credential_hash = new.credential_hash;
    DELETE FROM uses WHERE tag IN (
        SELECT tag FROM uses WHERE used_at <= CAST(round(unixepoch('subsec') * 1000) AS INTEGER) - 86400000
        ORDER BY used_at LIMIT 100
    );
    INSERT OR REPLACE INTO uses (tag, number, used_at)
    SELECT value, new.number, CAST(round(unixepoch('subsec') * 1000) AS INTEGER) FROM json_each(new.tags);
    INSERT INTO counts (hour, kind, count) VALUES (unixepoch() / 3600 * 3600000, 'used', 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
