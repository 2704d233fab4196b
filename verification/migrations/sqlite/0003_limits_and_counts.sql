-- The address of the client that asked, where audit_client_address is true.
ALTER TABLE verifications ADD COLUMN client_address TEXT;

-- How many verdicts of each status, and how many refusals, there were in each hour. Triggers keep the counts, in the
-- transaction that they count; the retention of audit rows leaves them alone.
CREATE TABLE counts (
    -- The beginning of the hour, in milliseconds since the Unix epoch.
    hour INTEGER NOT NULL,
    -- The status of a verdict, or refused.
    kind TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (hour, kind)
) WITHOUT ROWID;

INSERT INTO counts (hour, kind, count)
SELECT verified_at / 3600000 * 3600000 AS hour, status, count(*) FROM verifications GROUP BY hour, status;

CREATE TRIGGER count_verified AFTER INSERT ON verifications BEGIN
    INSERT INTO counts (hour, kind, count) VALUES (new.verified_at / 3600000 * 3600000, new.status, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

-- How many verdicts other than valid each client has had in the current minute, by this database's clock.
CREATE TABLE failures (
    -- Minutes since the Unix epoch.
    minute INTEGER NOT NULL,
    -- A keyed hash of the client's network.
    client TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (minute, client)
) WITHOUT ROWID;

-- Verifications are written to this view: each becomes an audit row, unless its client has had too many failures before.
CREATE VIEW attempts AS
SELECT *, NULL AS client, NULL AS failures, NULL AS refused FROM verifications WHERE false;

CREATE TRIGGER attempt_refused INSTEAD OF INSERT ON attempts WHEN new.refused BEGIN
    INSERT INTO counts (hour, kind, count) VALUES (new.verified_at / 3600000 * 3600000, 'refused', 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER attempt_recorded INSTEAD OF INSERT ON attempts WHEN NOT new.refused BEGIN
    INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at, client_address)
    VALUES (new.id, new.request_id, new.credential_hash, new.status, new.verified_by, new.verified_at, new.client_address);
    DELETE FROM failures WHERE minute < unixepoch() / 60;
    INSERT INTO failures (minute, client, count)
    SELECT unixepoch() / 60, new.client, 1 WHERE new.client IS NOT NULL AND new.status <> 'valid'
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
