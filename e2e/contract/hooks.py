"""Rules of the API that a schema cannot express.

A request that breaks such a rule is refused although it matches its schema, and an invalid list item gets an error in
its place in a 200. Schemathesis reports both as failures. These hooks accept them only if the request really broke the
rule and the response is the one that openapi.yaml describes in prose.
"""

import json
import re
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlsplit

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

# The cursors returned so far, for each list and set of filters.
CURSORS: dict[tuple, set[str]] = {}

GIVEN, GENERATED = {"credential": "$request.body#/credential"}, {"credential": "$response.body#/credential"}
HASH = {"credential_hash": "$response.body#/credential_hash"}
CREDENTIAL = {"credential_hash": "$response.body#/credentials/0/credential_hash"}
VERIFICATION = {"credential_hash": "$response.body#/verifications/0/credential_hash"}

# The operations that can follow a response, with their bodies. They are not `links` in the document because OpenAPI
# Generator rejects links whose body is an object.
LINKS = {
    ("/issue", "post", "201"): [
        ("checkCredential", HASH),
        ("verifyCredential", GENERATED),
        ("verifyCredential", GIVEN),
        ("revokeCredential", HASH),
    ],
    ("/revoke", "post", "200"): [("checkCredential", HASH), ("verifyCredential", GIVEN), ("revokeCredential", HASH)],
    ("/verify", "post", "200"): [("revokeCredential", GIVEN)],
    ("/credentials", "get", "200"): [("checkCredential", CREDENTIAL), ("revokeCredential", CREDENTIAL)],
    ("/verifications", "get", "200"): [("checkCredential", VERIFICATION)],
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Adds these links to the document's own."""
    for (path, method, status), following in LINKS.items():
        links = raw_schema["paths"][path][method]["responses"][status].setdefault("links", {})
        for number, (operation, body) in enumerate(following):
            links[f"{operation}{number}"] = {"operationId": operation, "requestBody": body}


@schemathesis.hook
def after_call(context, case, response):
    """Collects the cursors that the service returns."""
    if response.status_code == 200 and case.method.upper() == "GET" and case.path in ("/credentials", "/verifications"):
        CURSORS.setdefault(page(response), set()).add(response.json()["next_cursor"])


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether to report a failure."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        error = response.json()["errors"][0]
        broken = REFUSALS.get((re.sub(r"\[\d+\]", "[]", error["location"]), error["message"]))
        return broken is None or not broken(response)
    if isinstance(failure, AcceptedNegativeData) and response.status_code == 200:
        return not refused_in_place(case, response)
    return True


def refused_in_place(case, response):
    """Whether each invalid item of a list, and no other, has an error in its place."""
    if case.path == "/issue/batch":
        return issued_in_place(response)
    member, longest, is_sound = {
        "/check": ("credential_hashes", 900, is_hash),
        "/verify/batch": ("credentials", 100, lambda item: isinstance(item, str) and item != ""),
    }.get(case.path, (None, 0, None))
    body = sent(response)
    if not isinstance(body, dict) or set(body) - {"use"} != {member} or not isinstance(body[member], list):
        return False
    items, results = body[member], response.json()["results"]
    accepted = ["error" not in result for result in results]
    return 1 <= len(items) <= longest and [is_sound(item) for item in items] == accepted


def is_hash(item):
    return isinstance(item, str) and re.fullmatch("[0-9A-Fa-f]{64}", item) is not None


def is_repeated(response):
    """Whether the list repeats a hash, perhaps in another case."""
    hashes = [item.lower() for item in sent(response)["credential_hashes"] if is_hash(item)]
    return len(set(hashes)) < len(hashes)


def issued_in_place(response):
    """Whether each item of a batch has a result and at least one is refused, by whichever rule of /issue."""
    body = sent(response)
    if not isinstance(body, dict) or list(body) != ["credentials"] or not isinstance(body["credentials"], list):
        return False
    results = response.json()["results"]
    return 1 <= len(results) == len(body["credentials"]) <= 100 and any("error" in result for result in results)


def is_foreign_cursor(response):
    """Whether the cursor is not from a page of this list with these filters."""
    return query(response).get("cursor") not in CURSORS.get(page(response), set())


def is_past(response):
    time = moment(sent(response)["expires_at"])
    return time is None or time <= datetime.now(timezone.utc)


def is_beyond_9999(response):
    try:
        datetime.now(timezone.utc) + timedelta(seconds=sent(response)["ttl_seconds"])
    except OverflowError:
        return True
    return False


def is_no_range(response):
    """Whether the range of the statistics is reversed or too long."""
    asked = query(response)
    length = timedelta(days=1) if asked.get("by") == "day" else timedelta(hours=1)
    since, until = (moment(asked[name]) if name in asked else None for name in ("since", "until"))
    if "since" in asked and since is None or "until" in asked and until is None:
        return True  # The year 0.
    since, until = since or (until or datetime.now(timezone.utc)) - length, until or datetime.now(timezone.utc)
    return until <= since + length or until - since >= 3999 * length


def is_too_long(response):
    metadata = sent(response)["metadata"]
    return len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()) > 4096


def is_outside_the_years(text):
    """Whether the time leaves the years 0 to 9999 when converted to UTC."""
    if text.startswith("0000"):
        return "+" in text
    try:
        moment(text).astimezone(timezone.utc)
    except OverflowError:
        return True
    return False


NO_TIME = "must be an RFC 3339 timestamp"

REFUSALS = {
    ("body.credential_hashes[]", "must not be given twice"): is_repeated,
    ("query.cursor", "must be the next_cursor of a page with the same filters"): is_foreign_cursor,
    ("body.expires_at", "must be in the future"): is_past,
    ("body.ttl_seconds", "must not reach beyond the year 9999"): is_beyond_9999,
    ("body.expires_at", NO_TIME): lambda response: is_outside_the_years(sent(response)["expires_at"]),
    ("query.since", NO_TIME): lambda response: is_outside_the_years(query(response)["since"]),
    ("query.until", NO_TIME): lambda response: is_outside_the_years(query(response)["until"]),
    ("query.since", "must be before until, which is now unless given"): is_no_range,
    ("query.since", "must be within 4000 hours or days of until"): is_no_range,
    ("query.until", "must be within the years 0 to 9999"): lambda response: query(response)["until"][:4] in ("9999", "0000"),
    ("body.metadata", "must be at most 4096 bytes"): is_too_long,
}


def moment(text):
    """An RFC 3339 time; None for the year 0, which Python does not support."""
    text = text.upper().replace(":60", ":59")
    return None if text.startswith("0000") else datetime.fromisoformat(text)


def sent(response):
    """The body of the request."""
    return json.loads(response.request.body)


def query(response):
    """The query of the request."""
    return dict(parse_qsl(urlsplit(response.request.url).query, keep_blank_values=True))


def page(response):
    """The list and filters that a cursor is bound to."""
    filters = {name: value for name, value in query(response).items() if name not in ("cursor", "limit")}
    return (urlsplit(response.request.url).path, *sorted(filters.items()))
