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

-- Records verifications, the elements of a JSON array: each becomes an audit row, unless its client has had
-- `max_failures` before it; then it is only counted. Its failures before it are those in the table plus those before it in
-- the array. Adding to a client's failures locks their row, so those that others add at the same time are seen.
CREATE FUNCTION record(items json, max_failures bigint)
RETURNS TABLE (id text, failures bigint, refused boolean, millis_left bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- In plpgsql, because a function in sql is planned again by each call.
    RETURN QUERY WITH clock AS (
        SELECT floor(extract(epoch FROM now()) * 1000)::bigint AS millis
    ), item AS (
        SELECT value, position, value ->> 'client' AS client, value ->> 'status' <> 'valid' AS fails,
            (value ->> 'verified_at')::bigint / 3600000 * 3600000 AS hour
        FROM json_array_elements(items) WITH ORDINALITY AS item (value, position)
    ), added AS (
        INSERT INTO failures (minute, client, count)
        SELECT millis / 60000, client, count(*) FROM item, clock WHERE fails AND client IS NOT NULL
        GROUP BY millis, client ORDER BY client
        ON CONFLICT (minute, client) DO UPDATE SET count = failures.count + excluded.count
        RETURNING client, count
    ), counted AS (
        SELECT item.*, count(*) FILTER (WHERE fails) OVER (PARTITION BY client) AS own,
            count(*) FILTER (WHERE fails) OVER (
                PARTITION BY client ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS preceding
        FROM item
    ), before AS (
        SELECT counted.*, preceding + coalesce(
            added.count - own,
            (SELECT count FROM failures, clock WHERE minute = millis / 60000 AND failures.client = counted.client),
            0
        ) AS failures
        FROM counted LEFT JOIN added USING (client)
    ), outcome AS (
        SELECT *, client IS NOT NULL AND failures >= max_failures AS refused FROM before
    ), recorded AS (
        INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at, client_address)
        SELECT row.id, request_id, credential_hash, status, verified_by, verified_at, client_address
        FROM outcome, json_populate_record(NULL::verifications, value) AS row WHERE NOT refused ORDER BY row.id
    ), count_refused AS (
        INSERT INTO counts (hour, kind, shard, count)
        SELECT hour, 'refused', pg_backend_pid() % 64, count(*) FROM outcome WHERE refused GROUP BY hour ORDER BY hour
        ON CONFLICT (hour, kind, shard) DO UPDATE SET count = counts.count + excluded.count
    ), forget AS (
        DELETE FROM failures WHERE (minute, client) IN (
            SELECT minute, client FROM failures, clock WHERE minute < millis / 60000
            LIMIT 100 FOR UPDATE OF failures SKIP LOCKED
        )
    )
    SELECT value ->> 'id', failures, refused, 60000 - millis % 60000 FROM outcome, clock;
END $$;
