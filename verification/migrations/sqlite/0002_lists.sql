-- Lists, newest first: of one status, and of one credential.
CREATE INDEX verifications_by_status ON verifications (status, id);

CREATE INDEX verifications_by_credential ON verifications (credential_hash, id);
