-- A number of uses, and requests that may be repeated.

ALTER TABLE credentials
    -- How often a credential can be used; null for any number, which is then not counted.
    ADD COLUMN max_uses integer,
    ADD COLUMN uses integer NOT NULL DEFAULT 0,
    -- The request that issued it, if it had an idempotency key: a keyed hash of issuer and key, the credential's place in the
    -- request, and a keyed hash of the request's content. A repetition is recognised by them.
    ADD COLUMN request_tag text COLLATE "C",
    ADD COLUMN request_index integer,
    ADD COLUMN request_fingerprint text COLLATE "C";

CREATE UNIQUE INDEX credentials_by_request ON credentials (request_tag, request_index) WHERE request_tag IS NOT NULL;

-- Lists of what is used up.
CREATE INDEX credentials_limited ON credentials (issued_at, id) WHERE max_uses IS NOT NULL;

-- The uses of the last day that a repeated verification is granted again.
CREATE TABLE uses (
    -- A keyed hash of verifier, idempotency key and credential. A use has one under each secret, for verifications that know
    -- only one of them.
    tag text COLLATE "C" PRIMARY KEY,
    -- Which use of the credential it was, from 1.
    number integer NOT NULL,
    -- Milliseconds since the Unix epoch, by this database's clock.
    used_at bigint NOT NULL
);

CREATE INDEX uses_by_time ON uses (used_at);

-- Uses are counted too.
CREATE OR REPLACE FUNCTION count_revoked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO counts (hour, kind, shard, count)
    SELECT after.revoked_at / 3600000 * 3600000, 'revoked', pg_backend_pid() % 64, count(*)
    FROM after JOIN before USING (id) WHERE before.revoked_at IS NULL AND after.revoked_at IS NOT NULL
    GROUP BY 1 ORDER BY 1
    ON CONFLICT (hour, kind, shard) DO UPDATE SET count = counts.count + excluded.count;
    INSERT INTO counts (hour, kind, shard, count)
    SELECT floor(extract(epoch FROM now()) / 3600)::bigint * 3600000, 'used', pg_backend_pid() % 64,
        sum(after.uses - before.uses)
    FROM after JOIN before USING (id) HAVING sum(after.uses - before.uses) > 0
    ON CONFLICT (hour, kind, shard) DO UPDATE SET count = counts.count + excluded.count;
    RETURN NULL;
END $$;

ALTER FUNCTION count_revoked() RENAME TO count_revoked_and_used;

ALTER TRIGGER count_revoked ON credentials RENAME TO count_revoked_and_used;

-- As before, and `request` was not sent before: it has the `tags` and `fingerprints` of a request with an idempotency key.
-- Such requests are locked too, so that of two with the same key and other content at the same time, one is refused as a
-- whole.
CREATE OR REPLACE FUNCTION not_issued(items json) RETURNS SETOF json LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock(1, lock) FROM (
        SELECT DISTINCT hashtext(text) & 127 AS lock
        FROM json_array_elements(items) AS item, LATERAL (
            SELECT json_array_elements_text(item -> 'hashes') WHERE json_array_length(item -> 'hashes') > 1
            UNION ALL SELECT json_array_elements_text(item #> '{request,tags}')
            WHERE json_typeof(item -> 'request') = 'object'
        ) AS texts (text) ORDER BY lock
    ) AS locks;
    -- Arrays, because a function is expected to return a hundred rows, for which the whole table might be read.
    RETURN QUERY SELECT item FROM json_array_elements(items) AS item
    WHERE (json_array_length(item -> 'hashes') = 1 OR NOT EXISTS (
        SELECT FROM credentials
        WHERE credential_hash = ANY (ARRAY(SELECT json_array_elements_text(item -> 'hashes')))
    )) AND (json_typeof(item -> 'request') = 'null' OR NOT EXISTS (
        SELECT FROM credentials
        WHERE request_tag = ANY (ARRAY(SELECT json_array_elements_text(item #> '{request,tags}')))
            AND (request_index = (item ->> 'request_index')::integer OR request_fingerprint
                <> ALL (ARRAY(SELECT json_array_elements_text(item #> '{request,fingerprints}'))))
    ));
END $$;

-- Takes uses of limited credentials, the elements of a JSON array. One that was taken before with one of the same `tags`,
-- within a day, is granted again. If several in the array have the same first tag, one is taken. Nothing is granted of a
-- credential that has ended. Their rows are locked first, in one order, so the query sees what was committed meanwhile.
CREATE FUNCTION take_uses(items json)
RETURNS TABLE (place bigint, status text, uses_left integer, expires_at bigint, revoked_at bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM credentials
    WHERE credential_hash = ANY (ARRAY(SELECT item ->> 'credential_hash' FROM json_array_elements(items) AS item))
    ORDER BY credential_hash FOR NO KEY UPDATE;
    RETURN QUERY WITH clock AS (
        SELECT round(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now
    ), item AS (
        SELECT ordinality - 1 AS place, value ->> 'credential_hash' AS credential_hash, value -> 'tags' AS tags,
            value #>> '{tags,0}' AS tag, (
            SELECT max(number) FROM uses, clock
            WHERE tag = ANY (ARRAY(SELECT json_array_elements_text(value -> 'tags'))) AND used_at > now - 86400000
        ) AS earlier
        FROM json_array_elements(items) WITH ORDINALITY
    ), credential AS MATERIALIZED (
        -- An array, for the same reason as above.
        SELECT credential_hash, uses, max_uses, expires_at, revoked_at FROM credentials
        WHERE credential_hash = ANY (ARRAY(SELECT credential_hash FROM item))
    ), counted AS (
        SELECT item.*, uses, max_uses, expires_at, revoked_at, (earlier IS NULL AND row_number() OVER (
            PARTITION BY credential_hash, coalesce(tag, place::text) ORDER BY place
        ) = 1) AS fresh
        FROM item JOIN credential USING (credential_hash) WHERE max_uses IS NOT NULL
    ), numbered AS (
        SELECT *, uses + (count(*) FILTER (WHERE fresh) OVER (PARTITION BY credential_hash ORDER BY place))::integer
            AS next
        FROM counted
    ), outcome AS (
        SELECT *, coalesce(earlier, first_value(next) OVER (
            PARTITION BY credential_hash, coalesce(tag, place::text) ORDER BY place
        )) AS number,
        CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now THEN 'expired' END AS ended
        FROM numbered, clock
    ), taken AS (
        SELECT credential_hash, tags, number, now FROM outcome WHERE ended IS NULL AND fresh AND number <= max_uses
    ), counted_uses AS (
        UPDATE credentials SET uses = credentials.uses + taken_of.count
        FROM (SELECT credential_hash, count(*)::integer AS count FROM taken GROUP BY credential_hash) AS taken_of
        WHERE credentials.credential_hash = taken_of.credential_hash
    ), kept AS (
        INSERT INTO uses (tag, number, used_at)
        SELECT tag, number, now FROM taken, json_array_elements_text(tags) AS tag ORDER BY tag
        ON CONFLICT (tag) DO UPDATE SET number = excluded.number, used_at = excluded.used_at
    ), forgotten AS (
        DELETE FROM uses WHERE tag IN (
            SELECT tag FROM uses, clock WHERE used_at <= now - 86400000 ORDER BY used_at LIMIT 100
            FOR UPDATE OF uses SKIP LOCKED
        ) AND tag NOT IN (SELECT json_array_elements_text(tags) FROM taken)
    )
    SELECT place, coalesce(ended, CASE WHEN earlier IS NOT NULL OR number <= max_uses THEN 'active' ELSE 'used_up' END),
        greatest(max_uses - number, 0), expires_at, revoked_at
    FROM outcome;
END $$;
