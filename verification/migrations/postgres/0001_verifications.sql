-- The audit rows: one for each verdict, written before the verdict is given.
CREATE TABLE verifications (
    -- A UUID of version 7: its text sorts by time.
    id text COLLATE "C" PRIMARY KEY,
    -- The X-Request-Id of the request.
    request_id text NOT NULL,
    -- HMAC-SHA256 of what was presented, as 64 lowercase hexadecimal digits.
    credential_hash text COLLATE "C" NOT NULL,
    -- valid, expired, revoked or not_found.
    status text COLLATE "C" NOT NULL,
    is_valid boolean NOT NULL GENERATED ALWAYS AS (status = 'valid') STORED,
    -- The worker that verified.
    verified_by text NOT NULL,
    -- Milliseconds since the Unix epoch, UTC.
    verified_at bigint NOT NULL,
    -- The address of the client that asked, where audit_client_address is true.
    client_address text
);

-- Lists, newest first: of one status, and of one credential.
CREATE INDEX verifications_by_status ON verifications (status, id);
CREATE INDEX verifications_by_credential ON verifications (credential_hash, id);

-- How many verdicts of each status, and how many refusals, there were in each hour. A trigger counts the verdicts, in the
-- transaction that it counts; the retention of audit rows leaves the counts alone. Each is spread over 64 rows, because a
-- row that every transaction updates makes all of them wait for one another.
CREATE TABLE counts (
    -- The beginning of the hour, in milliseconds since the Unix epoch.
    hour bigint NOT NULL,
    -- The status of a verdict, or refused.
    kind text NOT NULL,
    shard integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (hour, kind, shard)
) WITH (fillfactor = 50);

CREATE FUNCTION count_verified() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO counts (hour, kind, shard, count)
    SELECT verified_at / 3600000 * 3600000, status, pg_backend_pid() % 64, count(*) FROM added GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (hour, kind, shard) DO UPDATE SET count = counts.count + excluded.count;
    RETURN NULL;
END $$;

CREATE TRIGGER count_verified AFTER INSERT ON verifications REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION count_verified();

-- How many verdicts other than valid each client has asked for in the current minute, by this database's clock.
CREATE TABLE failures (
    -- Minutes since the Unix epoch.
    minute bigint NOT NULL,
    -- A keyed hash of the client's network.
    client text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (minute, client)
) WITH (fillfactor = 50);
