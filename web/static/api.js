// The API: its URL, its calls, and its errors.

const configured = document.querySelector("meta[name=api-base]").content.trim();

/** The API's URL without a trailing slash: `api-base` in index.html, or else the page's own folder. */
export const API = new URL(configured || ".", document.baseURI).href.replace(/\/+$/, "");

// Allow calls to the API only. (A second policy can only narrow the first: CSP level 3, section 3.3.)
const policy = document.createElement("meta");
policy.httpEquiv = "Content-Security-Policy";
policy.content = `connect-src ${new URL(API).origin}`;
document.head.append(policy);

/** How long to wait for a response, in milliseconds: longer than the service itself waits for anything. */
const TIMEOUT = 30_000;

/** A call that gave no usable response. */
export class ApiError extends Error {
  /**
   * `status` is 0 if there was no response at all. `retryAfter` is the number of seconds to wait after too many
   * requests.
   */
  constructor(status, title, detail, { requestId = null, errors = [], retryAfter = null } = {}) {
    super(detail);
    Object.assign(this, { status, title, requestId, errors, retryAfter });
  }

  /** Whether the service may have carried out the request. */
  get isUncertain() {
    return this.status === 0 || this.status >= 500;
  }
}

/** Statuses with which the service has decided about a request, so that repeating it is pointless. */
const DECIDED = [400, 409, 413, 415, 422];

/** The error for input that cannot be sent. */
export function inputError(location, message) {
  return new ApiError(400, "Not sent", message, { errors: [{ location, message }] });
}

/** A random key for a request, or for a list of them. (`crypto.randomUUID` needs HTTPS.) */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Returns a function that posts JSON text to a route, with an idempotency key. Until the service has decided, it sends
 * the same text with the same key, so that nothing is done twice.
 */
export function repeatable(path) {
  let undecided = null;
  return async (body, token) => {
    if (undecided?.body !== body) undecided = { body, key: newKey() };
    try {
      const response = await call("POST", path, { body, token, key: undecided.key });
      undecided = null;
      return response;
    } catch (error) {
      if (DECIDED.includes(error.status)) undecided = null;
      throw error;
    }
  };
}

/**
 * Calls a route and returns its JSON. `body` is a value or JSON text, `token` a bearer token, `key` an idempotency key.
 * A status in `also` is a success unless its body is a problem document.
 */
export async function call(method, path, { body, token, key, signal, also = [] } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  if (key) headers["idempotency-key"] = `"${key}"`;
  const timeout = AbortSignal.timeout(TIMEOUT);
  let response, text;
  try {
    response = await fetch(API + path, {
      method,
      headers,
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw unreachable(error);
  }
  const json = parse(text);
  const isProblem = response.headers.get("content-type")?.startsWith("application/problem+json");
  if ((response.ok || (also.includes(response.status) && !isProblem)) && json !== null) return json;
  throw new ApiError(
    response.status,
    json?.title ?? "Unexpected response",
    json?.detail ?? `${API} responded with status ${response.status}, but not the way this service does.`,
    {
      requestId: json?.request_id ?? response.headers.get("x-request-id"),
      errors: json?.errors ?? [],
      retryAfter: response.status === 429 ? seconds(response.headers.get("retry-after")) : null,
    },
  );
}

function unreachable(error) {
  if (!navigator.onLine) {
    return new ApiError(0, "You are offline", "There was no response. Try again when you are connected.");
  }
  if (error.name === "TimeoutError") {
    return new ApiError(0, "No response", `The service at ${API} did not respond in time. It may have carried out the request all the same.`);
  }
  return new ApiError(
    0,
    "The service cannot be reached",
    `${API} does not respond. Either it is down, or it does not allow pages from ${location.origin} (cors_origin).`,
  );
}

/** The seconds in a Retry-After header, or null. */
function seconds(header) {
  return /^\d+$/.test(header ?? "") ? Number(header) : null;
}

/** Parses JSON. Numbers that are too long for JavaScript keep their digits if the browser has JSON.rawJSON. */
function parse(text) {
  try {
    return JSON.parse(text, (_, value, context) =>
      typeof value === "number" && context?.source !== undefined && String(value) !== context.source && JSON.rawJSON
        ? JSON.rawJSON(context.source)
        : value);
  } catch {
    return null;
  }
}
