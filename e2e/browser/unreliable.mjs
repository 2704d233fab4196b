// A proxy in front of the application that loses requests and responses.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { APP } from "./harness.mjs";

const PROBLEM = { title: "Service unavailable", status: 503, detail: "It may have been done.", request_id: "r-503" };

/**
 * Starts a proxy. Each POST takes one of the `faults`, if there are any left:
 *
 * - `none`
 * - `unsent`: the connection ends before the service gets the request
 * - `unanswered`: it ends after the service has carried it out, without a response
 * - `cut`: it ends in the middle of the response
 * - `unavailable`: the service has carried it out, but the response is a 503
 * - `silent`: the service has carried it out, and the connection stays open without a response
 * - `twice`: the request reaches the service twice at the same time
 *
 * Returns its `url`, the `faults` to add to, and the `sent` requests, each with its `key` and `body`.
 */
export async function unreliable(test) {
  const [faults, sent] = [[], []];
  const server = createServer(async (incoming, outgoing) => {
    const body = Buffer.concat(await incoming.toArray());
    const { method, url } = incoming;
    const { host, connection, "accept-encoding": encoding, "content-length": length, ...headers } = incoming.headers;
    const forward = async () => {
      const response = await fetch(APP + url, { method, headers, body: method === "POST" ? body : undefined });
      return { response, bytes: Buffer.from(await response.arrayBuffer()) };
    };
    let fault = "none";
    if (method === "POST") {
      sent.push({ key: incoming.headers["idempotency-key"], body: JSON.parse(body) });
      fault = faults.shift() ?? "none";
    }
    if (fault === "unsent") return outgoing.destroy();
    const [{ response, bytes }, twin] = await Promise.all(fault === "twice" ? [forward(), forward()] : [forward()]);
    if (twin && url.startsWith("/issue")) assert.deepEqual(twin.bytes, bytes);
    if (fault === "unanswered") return outgoing.destroy();
    if (fault === "silent") return null;
    // Chromium itself would repeat a request if a connection ended that it had used before.
    outgoing.setHeader("connection", "close");
    if (fault === "unavailable") {
      return outgoing.writeHead(503, { "content-type": "application/problem+json" }).end(JSON.stringify(PROBLEM));
    }
    for (const name of ["content-type", "content-security-policy"]) {
      if (response.headers.has(name)) outgoing.setHeader(name, response.headers.get(name));
    }
    outgoing.writeHead(response.status, { "content-length": bytes.length });
    if (fault !== "cut") return outgoing.end(bytes);
    return outgoing.write(bytes.subarray(0, bytes.length / 2), () => outgoing.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, faults, sent };
}
