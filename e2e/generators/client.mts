// Uses the generated TypeScript client. Fails unless the service behaves as openapi.yaml says.

import createClient from "openapi-fetch";
import type { components, paths } from "./openapi.js";

declare const process: { argv: string[] };

type Same<A, B> = [A, B] extends [B, A] ? true : false;
const cursorMayBeNull: Same<components["schemas"]["CredentialPage"]["next_cursor"], string | null> = true;

const [, , baseUrl, ...tokens] = process.argv;
const client = createClient<paths>({ baseUrl });
const [issuer, verifier, admin] = tokens.map((token) => ({ authorization: `Bearer ${token}` }));
const credential = crypto.randomUUID();

function assert(condition: unknown, what: unknown): asserts condition {
  if (!condition) throw new Error(JSON.stringify(what));
}

const issued = await client.POST("/issue", { body: { credential }, headers: issuer });
assert(issued.data !== undefined, issued.error);
const refused = await client.POST("/issue", { body: { credential }, headers: issuer });
assert(refused.error?.type === "urn:kube-credentials:problem:already-issued", refused);

const valid = await client.POST("/verify", { body: { credential }, headers: verifier });
assert(valid.data?.isValid && valid.data.issuedAt === issued.data.issued_at, valid);
const invalid = await client.POST("/verify", { body: { credential: "guesswork" }, headers: verifier });
assert(invalid.data?.isValid === false && invalid.data.status === "not_found", invalid);
const found = await client.POST("/check", { body: { credential_hash: issued.data.credential_hash } });
assert(found.data !== undefined && "exists" in found.data && found.data.exists && found.data.status === "active", found);
const unknown = await client.POST("/check", { body: { credential_hash: "0".repeat(64) } });
assert(unknown.data !== undefined && "exists" in unknown.data && !unknown.data.exists, unknown);

const items: components["schemas"]["IssueRequest"][] = [{ generate: true, ttl_seconds: 60 }, { credential }];
const batch = await client.POST("/issue/batch", { body: { credentials: items }, headers: issuer });
const [generated, second] = batch.data?.results ?? [];
assert(generated && "credential" in generated && generated.credential !== undefined, batch);
assert(second && "error" in second && second.error.status === 409, batch);
const body = { credentials: [generated.credential, "guesswork"] };
const verdicts = await client.POST("/verify/batch", { body, headers: verifier });
const told = verdicts.data?.results.map((verdict) => "isValid" in verdict && verdict.isValid);
assert(JSON.stringify(told) === "[true,false]", verdicts);

/** A page with one row. The response type also allows a string, for CSV. */
async function page(cursor?: string) {
  const { data, error } = await client.GET("/credentials", { params: { query: { limit: 1, cursor } }, headers: admin });
  assert(data !== undefined && typeof data !== "string", error);
  return data;
}
const first = await page();
assert(first.next_cursor !== null, first);
const last = await page(first.next_cursor);
assert(last.next_cursor === null, last);
const hashes = [...first.credentials, ...last.credentials].map((row) => row.credential_hash);
assert(hashes.join() === [generated.credential_hash, issued.data.credential_hash].join(), hashes);

const header = { "Idempotency-Key": crypto.randomUUID() };
const issueCode = (body: components["schemas"]["IssueRequest"]) =>
  client.POST("/issue", { body, params: { header }, headers: issuer });
const code = await issueCode({ generate: true, max_uses: 1 });
assert(code.data?.credential !== undefined, code.error);
const repeated = await issueCode({ generate: true, max_uses: 1 });
assert(JSON.stringify(repeated.data) === JSON.stringify(code.data), repeated);
const reused = await issueCode({ generate: true });
assert(reused.error?.status === 422, reused);
for (const [use, status, left] of [[false, "valid", 1], [true, "valid", 0], [true, "used_up", 0]] as const) {
  const body = { credential: code.data.credential, use };
  const verdict = await client.POST("/verify", { body, headers: verifier });
  assert(verdict.data?.status === status && verdict.data.usesLeft === left, verdict);
}
