-- The end of a credential's life, and what its issuer said about it. Times are milliseconds since the Unix epoch, UTC.

-- From when on it no longer counts; null for never.
ALTER TABLE credentials ADD COLUMN expires_at INTEGER;

-- When it was revoked, and why; null while it is not.
ALTER TABLE credentials ADD COLUMN revoked_at INTEGER;

ALTER TABLE credentials ADD COLUMN revocation_reason TEXT;

-- A JSON object, as it was sent.
ALTER TABLE credentials ADD COLUMN metadata TEXT;

-- Lists: newest first, of a range of time, and of the statuses that are rare.
CREATE INDEX credentials_by_time ON credentials (issued_at, id);

CREATE INDEX credentials_revoked ON credentials (issued_at, id) WHERE revoked_at IS NOT NULL;

CREATE INDEX credentials_expiring ON credentials (issued_at, id) WHERE expires_at IS NOT NULL;
