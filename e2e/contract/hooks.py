"""The rules of the API that no schema can state.

A request that breaks one of them fits its schema and is refused; an item that does not fit the list it is in is
answered in its place. Schemathesis takes both for failures. Each is let pass here only where the request did break that
rule, and the answer is the one that openapi.yaml describes in prose.
"""

import json
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlsplit

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

# For each list and set of filters, the cursors that its pages have given.
CURSORS: dict[tuple, set[str]] = {}


@schemathesis.hook
def after_call(context, case, response):
    """Keeps the cursors that the service gives."""
    if response.status_code == 200 and case.method.upper() == "GET" and case.path in ("/credentials", "/verifications"):
        CURSORS.setdefault(page(response), set()).add(response.json()["next_cursor"])


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a failure is one."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        error = response.json()["errors"][0]
        broken = REFUSALS.get((error["location"], error["message"]))
        return broken is None or not broken(response)
    if isinstance(failure, AcceptedNegativeData) and response.status_code == 200:
        return not answered_in_place(case, response)
    return True


def answered_in_place(case, response):
    """An item of a list that is not what the list takes gets an error in its place, and only such an item does."""
    member, longest, is_sound = {
        "/check": ("credential_hashes", 900, lambda item: isinstance(item, str)),
        "/verify/batch": ("credentials", 100, lambda item: isinstance(item, str) and item != ""),
    }.get(case.path, (None, 0, None))
    body = sent(response)
    if not isinstance(body, dict) or list(body) != [member] or not isinstance(body[member], list):
        return False
    items, results = body[member], response.json()["results"]
    answered = ["error" not in result for result in results]
    return 1 <= len(items) <= longest and [is_sound(item) for item in items] == answered


def is_foreign_cursor(response):
    """The cursor is none that a page of this list with these filters has given."""
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


def is_too_long(response):
    metadata = sent(response)["metadata"]
    return len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()) > 4096


def is_outside_the_years(text):
    """In UTC the time is not in the years 0 to 9999, though as it is written it is."""
    if text.startswith("0000"):
        return "+" in text
    try:
        moment(text).astimezone(timezone.utc)
    except OverflowError:
        return True
    return False


NO_TIME = "must be an RFC 3339 timestamp"

REFUSALS = {
    ("query.cursor", "must be the next_cursor of a page with the same filters"): is_foreign_cursor,
    ("body.expires_at", "must be in the future"): is_past,
    ("body.ttl_seconds", "must not reach beyond the year 9999"): is_beyond_9999,
    ("body.expires_at", NO_TIME): lambda response: is_outside_the_years(sent(response)["expires_at"]),
    ("query.since", NO_TIME): lambda response: is_outside_the_years(query(response)["since"]),
    ("query.until", NO_TIME): lambda response: is_outside_the_years(query(response)["until"]),
    ("body.metadata", "must be at most 4096 bytes"): is_too_long,
}


def moment(text):
    """A time of RFC 3339; None for the year 0, which Python does not have."""
    text = text.upper().replace(":60", ":59")
    return None if text.startswith("0000") else datetime.fromisoformat(text)


def sent(response):
    """The body as it was sent."""
    return json.loads(response.request.body)


def query(response):
    """The query as it was sent."""
    return dict(parse_qsl(urlsplit(response.request.url).query, keep_blank_values=True))


def page(response):
    """The list and the filters that a cursor is bound to."""
    filters = {name: value for name, value in query(response).items() if name not in ("cursor", "limit")}
    return (urlsplit(response.request.url).path, *sorted(filters.items()))
