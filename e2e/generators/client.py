"""Uses the generated Python client. Fails unless the service behaves as openapi.yaml says."""

import sys
from typing import assert_type
from uuid import uuid4

from kube_credentials_client import AuthenticatedClient, Client, models
from kube_credentials_client.api.issuance import check_credential, issue_credential, issue_credentials, list_credentials
from kube_credentials_client.api.verification import verify_credential, verify_credentials

base_url, *tokens = sys.argv[1:]
anyone = Client(base_url=base_url)
issuer, verifier, admin = (AuthenticatedClient(base_url=base_url, token=token) for token in tokens)
credential = str(uuid4())

issued = issue_credential.sync(client=issuer, body=models.IssueGivenRequest(credential=credential))
assert isinstance(issued, models.IssueResponse), issued
refused = issue_credential.sync(client=issuer, body=models.IssueGivenRequest(credential=credential))
assert isinstance(refused, models.Problem) and refused.type_.endswith(":already-issued"), refused

valid = verify_credential.sync(client=verifier, body=models.VerifyRequest(credential=credential))
assert isinstance(valid, models.ValidVerdict) and valid.issued_at == issued.issued_at, valid
invalid = verify_credential.sync(client=verifier, body=models.VerifyRequest(credential="guesswork"))
assert isinstance(invalid, models.InvalidVerdict) and invalid.status == "not_found", invalid
found = check_credential.sync(client=anyone, body=models.CheckOneRequest(credential_hash=issued.credential_hash))
assert isinstance(found, models.CheckFound) and found.status == "active", found
unknown = check_credential.sync(client=anyone, body=models.CheckOneRequest(credential_hash="0" * 64))
assert isinstance(unknown, models.CheckNotFound), unknown

generate = models.IssueGeneratedRequest(generate=True, ttl_seconds=60)
again = models.IssueGivenRequest(credential=credential)
batch = issue_credentials.sync(client=issuer, body=models.IssueBatchRequest(credentials=[generate, again]))
assert isinstance(batch, models.IssueBatchResponse), batch
generated, second = batch.results
assert isinstance(generated, models.IssueResponse) and isinstance(generated.credential, str), generated
assert isinstance(second, models.ItemError) and second.error.status == 409, second
verdicts = verify_credentials.sync(
    client=verifier, body=models.VerifyBatchRequest(credentials=[generated.credential, "guesswork"])
)
assert isinstance(verdicts, models.VerifyBatchResponse), verdicts
assert [type(verdict) for verdict in verdicts.results] == [models.ValidVerdict, models.InvalidVerdict], verdicts

first = list_credentials.sync(client=admin, limit=1)
assert isinstance(first, models.CredentialPage), first
assert_type(first.next_cursor, str | None)
assert first.next_cursor is not None, first
last = list_credentials.sync(client=admin, limit=1, cursor=first.next_cursor)
assert isinstance(last, models.CredentialPage) and last.next_cursor is None, last
hashes = [row.credential_hash for row in first.credentials + last.credentials]
assert hashes == [generated.credential_hash, issued.credential_hash], hashes

key = str(uuid4())
code = issue_credential.sync(
    client=issuer, body=models.IssueGeneratedRequest(generate=True, max_uses=1), idempotency_key=key
)
assert isinstance(code, models.IssueResponse) and isinstance(code.credential, str), code
repeated = issue_credential.sync(
    client=issuer, body=models.IssueGeneratedRequest(generate=True, max_uses=1), idempotency_key=key
)
assert repeated == code, repeated
reused = issue_credential.sync(client=issuer, body=models.IssueGeneratedRequest(generate=True), idempotency_key=key)
assert isinstance(reused, models.Problem) and reused.status == 422, reused
for use, status, left in [(False, "valid", 1), (True, "valid", 0), (True, "used_up", 0)]:
    verdict = verify_credential.sync(client=verifier, body=models.VerifyRequest(credential=code.credential, use=use))
    assert isinstance(verdict, models.ValidVerdict | models.InvalidVerdict), verdict
    assert (verdict.status, verdict.uses_left) == (status, left), verdict
