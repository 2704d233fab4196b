-- The audit rows: one for each verdict, written before the verdict is given.
CREATE TABLE verifications (
    -- A UUID of version 7: its text sorts by time.
    id TEXT PRIMARY KEY,
    -- The X-Request-Id of the request.
    request_id TEXT NOT NULL,
    -- HMAC-SHA256 of what was presented, as 64 lowercase hexadecimal digits.
    credential_hash TEXT NOT NULL,
    -- valid or not_found.
    status TEXT NOT NULL,
    is_valid INTEGER NOT NULL GENERATED ALWAYS AS (status = 'valid') VIRTUAL,
    -- The worker that verified.
    verified_by TEXT NOT NULL,
    -- Milliseconds since the Unix epoch, UTC.
    verified_at INTEGER NOT NULL
) WITHOUT ROWID;
