-- The key ids of all credentials, so that a missing secret is noticed without reading them. A trigger keeps the list.
CREATE TABLE key_ids (
    key_id TEXT PRIMARY KEY
) WITHOUT ROWID;

INSERT INTO key_ids (key_id) SELECT DISTINCT key_id FROM credentials;

CREATE TRIGGER list_key_id AFTER INSERT ON credentials BEGIN
    INSERT INTO key_ids (key_id) VALUES (new.key_id) ON CONFLICT DO NOTHING;
END;
