// Receive webhooks: verify the signature, drop duplicates, answer at once, process later.

import { EventEmitter, on } from "node:events";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const MAX_BODY = 1024 * 1024; // bytes; the signature can be verified only after the whole body was read

const secret = process.env.WEBHOOK_SECRET ?? "";
if (!secret.startsWith("whsec_")) {
  console.error("Set WEBHOOK_SECRET to the signing key of the webhook: whsec_…");
  process.exit(1);
}
const webhook = new Webhook(secret);

// In production, store both in your database before answering: a unique column of ids, and a table of jobs.
const ids = new Set();
const jobs = new EventEmitter();

// Processes the jobs in order. Slow work belongs here.
async function work() {
  for await (const [id, event] of on(jobs, "job")) {
    console.log(`${id}  ${JSON.stringify(event)}`);
  }
}

function receive(body, headers) {
  let event;
  try {
    event = webhook.verify(body, headers); // the received bytes: parsing and serialising JSON again would change them
  } catch {
    return [400, "wrong signature"];
  }
  const id = headers["webhook-id"];
  if (ids.has(id)) return [202, "duplicate"];
  ids.add(id);
  jobs.emit("job", id, event);
  return [202, "accepted"];
}

// Takes the place of Slack. Notifications are not signed.
function note(body) {
  console.log(`notification  ${body}`);
  return [204];
}

async function read(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY) throw new Error("too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const routes = { "/hook": receive, "/notes": note };

async function answer(request) {
  const route = request.method === "POST" && Object.hasOwn(routes, request.url) && routes[request.url];
  if (!route) return [404, "not found"];
  return route(await read(request), request.headers);
}

const server = createServer(async (request, response) => {
  try {
    const [status, text] = await answer(request);
    response.writeHead(status).end(text);
  } catch {
    response.destroy(); // too large, or the sender disconnected
  }
});

work();
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`);
});
