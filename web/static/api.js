// The API: where it is, how to call it, and its errors.

const configured = document.querySelector("meta[name=api-base]").content.trim();

/** The API's URL without a trailing slash: `api-base` of index.html, or the folder that the page comes from. */
export const API = new URL(configured || ".", document.baseURI).href.replace(/\/+$/, "");

// Allow calls to the API only. (A second policy can only narrow the first: CSP level 3, section 3.3.)
const policy = document.createElement("meta");
policy.httpEquiv = "Content-Security-Policy";
policy.content = `connect-src ${new URL(API).origin}`;
document.head.append(policy);

/** How long to wait for an answer, in milliseconds: longer than the service waits for anything. */
const TIMEOUT = 30_000;

/** Why there is no answer to show. */
export class ApiError extends Error {
  /** `status` is 0 if no answer came at all, `retryAfter` the seconds to wait after too many requests. */
  constructor(status, title, detail, { requestId = null, errors = [], retryAfter = null } = {}) {
    super(detail);
    Object.assign(this, { status, title, requestId, errors, retryAfter });
  }
}

/** The error for input that cannot be sent. */
export function inputError(location, message) {
  return new ApiError(400, "Not sent", message, { errors: [{ location, message }] });
}

/**
 * Calls a route and returns its JSON.
 *
 * `body` is a value or JSON text, `token` a bearer token. A status in `also` counts as success, unless its body is a
 * problem document.
 */
export async function call(method, path, { body, token, signal, also = [] } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
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
  const answer = parse(text);
  const isProblem = response.headers.get("content-type")?.startsWith("application/problem+json");
  if ((response.ok || (also.includes(response.status) && !isProblem)) && answer !== null) return answer;
  throw new ApiError(
    response.status,
    answer?.title ?? "Unexpected answer",
    answer?.detail ?? `What is at ${API} answered with status ${response.status}, and not as this service does.`,
    {
      requestId: answer?.request_id ?? response.headers.get("x-request-id"),
      errors: answer?.errors ?? [],
      retryAfter: response.status === 429 ? seconds(response.headers.get("retry-after")) : null,
    },
  );
}

function unreachable(error) {
  if (!navigator.onLine) {
    return new ApiError(0, "You are offline", "There is no answer. Try again when you are connected.");
  }
  if (error.name === "TimeoutError") {
    return new ApiError(0, "No answer", `The service at ${API} did not answer in time. It may have done what it was asked for.`);
  }
  return new ApiError(
    0,
    "The service cannot be reached",
    `There is no answer from ${API}. Either it is down, or it does not allow pages from ${location.origin} (cors_origin).`,
  );
}

/** The seconds of a Retry-After header, or null. */
function seconds(header) {
  return /^\d+$/.test(header ?? "") ? Number(header) : null;
}

/** Parses JSON. Numbers too long for JavaScript keep their digits if the browser has JSON.rawJSON. */
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
