-- One row for each credential ever issued. The plaintext is nowhere. Times are milliseconds since the Unix epoch, UTC.
CREATE TABLE credentials (
    -- Counts up in the order of issuing, and pages through it.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- HMAC-SHA256 as 64 lowercase hexadecimal digits.
    credential_hash text COLLATE "C" NOT NULL UNIQUE,
    -- The fingerprint of the secret that made the hash.
    key_id text NOT NULL,
    -- The worker that issued it.
    worker_id text NOT NULL,
    issued_at bigint NOT NULL,
    -- From when on it no longer counts; null for never.
    expires_at bigint,
    -- When it was revoked, and why; null while it is not.
    revoked_at bigint,
    revocation_reason text,
    -- A JSON object, as it was sent.
    metadata text
);

-- Lists: newest first, of a range of time, and of the statuses that are rare.
CREATE INDEX credentials_by_time ON credentials (issued_at, id);
CREATE INDEX credentials_revoked ON credentials (issued_at, id) WHERE revoked_at IS NOT NULL;
CREATE INDEX credentials_expiring ON credentials (issued_at, id) WHERE expires_at IS NOT NULL;

-- The key ids of all credentials, so that a missing secret is noticed without reading them. A trigger keeps the list.
CREATE TABLE key_ids (
    key_id text PRIMARY KEY
);

-- How many credentials were issued and revoked in each hour. Triggers keep the counts, in the transaction that they count.
-- Each is spread over 64 rows, because a row that every transaction updates makes all of them wait for one another.
CREATE TABLE counts (
    -- The beginning of the hour.
    hour bigint NOT NULL,
    -- issued or revoked.
    kind text NOT NULL,
    shard integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (hour, kind, shard)
) WITH (fillfactor = 50);

CREATE FUNCTION count_issued() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO key_ids (key_id) SELECT DISTINCT key_id FROM added ON CONFLICT DO NOTHING;
    INSERT INTO counts (hour, kind, shard, count)
    SELECT issued_at / 3600000 * 3600000, 'issued', pg_backend_pid() % 64, count(*) FROM added GROUP BY 1 ORDER BY 1
    ON CONFLICT (hour, kind, shard) DO UPDATE SET count = counts.count + excluded.count;
    RETURN NULL;
END $$;

CREATE TRIGGER count_issued AFTER INSERT ON credentials REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION count_issued();

CREATE FUNCTION count_revoked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO counts (hour, kind, shard, count)
    SELECT after.revoked_at / 3600000 * 3600000, 'revoked', pg_backend_pid() % 64, count(*)
    FROM after JOIN before USING (id) WHERE before.revoked_at IS NULL AND after.revoked_at IS NOT NULL
    GROUP BY 1 ORDER BY 1
    ON CONFLICT (hour, kind, shard) DO UPDATE SET count = counts.count + excluded.count;
    RETURN NULL;
END $$;

CREATE TRIGGER count_revoked AFTER UPDATE ON credentials REFERENCING OLD TABLE AS before NEW TABLE AS after
FOR EACH STATEMENT EXECUTE FUNCTION count_revoked();

-- The elements of a JSON array whose `hashes` have not been issued; a single hash is left to the unique index. Credentials
-- with several hashes are locked until the end of the transaction: replicas with different current secrets insert different
-- ones of them, which no unique index compares. The locks are taken in one order, and before the query, which then sees what
-- was committed meanwhile.
CREATE FUNCTION not_issued(items json) RETURNS SETOF json LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock(1, lock) FROM (
        SELECT DISTINCT hashtext(hash) & 127 AS lock
        FROM json_array_elements(items) AS item, json_array_elements_text(item -> 'hashes') AS hash
        WHERE json_array_length(item -> 'hashes') > 1 ORDER BY lock
    ) AS locks;
    -- Arrays, because a function is expected to return a hundred rows, for which the whole table might be read.
    RETURN QUERY SELECT item FROM json_array_elements(items) AS item
    WHERE json_array_length(item -> 'hashes') = 1 OR NOT EXISTS (
        SELECT FROM credentials
        WHERE credential_hash = ANY (ARRAY(SELECT json_array_elements_text(item -> 'hashes')))
    );
END $$;
