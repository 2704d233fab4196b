-- How many credentials were issued and revoked in each hour. Triggers keep the counts, in the transaction that they count.
CREATE TABLE counts (
    -- The beginning of the hour, in milliseconds since the Unix epoch.
    hour INTEGER NOT NULL,
    -- issued or revoked.
    kind TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (hour, kind)
) WITHOUT ROWID;

INSERT INTO counts (hour, kind, count)
SELECT issued_at / 3600000 * 3600000 AS hour, 'issued', count(*) FROM credentials GROUP BY hour
UNION ALL
SELECT revoked_at / 3600000 * 3600000 AS hour, 'revoked', count(*) FROM credentials WHERE revoked_at IS NOT NULL GROUP BY hour;

CREATE TRIGGER count_issued AFTER INSERT ON credentials BEGIN
    INSERT INTO counts (hour, kind, count) VALUES (new.issued_at / 3600000 * 3600000, 'issued', 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER count_revoked AFTER UPDATE OF revoked_at ON credentials
WHEN old.revoked_at IS NULL AND new.revoked_at IS NOT NULL BEGIN
    INSERT INTO counts (hour, kind, count) VALUES (new.revoked_at / 3600000 * 3600000, 'revoked', 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
