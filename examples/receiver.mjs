// Receive webhooks: verify the signature, drop what has come before, answer at once, work later.

import { EventEmitter, on } from "node:events";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const MAX_BODY = 1024 * 1024; // bytes: anybody can post here, and the signature is known only at the end

const secret = process.env.WEBHOOK_SECRET ?? "";
if (!secret.startsWith("whsec_")) {
  console.error("Set WEBHOOK_SECRET to the signing key of the webhook: whsec_…");
  process.exit(1);
}
const webhook = new Webhook(secret);

// In production both belong in your database, written before you answer: a unique column of ids, and a table of jobs.
const ids = new Set();
const jobs = new EventEmitter();

// Does the jobs, one after the other. Here goes what takes time.
async function work() {
  for await (const [id, event] of on(jobs, "job")) {
    console.log(`${id}  ${JSON.stringify(event)}`);
  }
}

function receive(body, headers) {
  let event;
  try {
    event = webhook.verify(body, headers); // the bytes as they came: JSON that is parsed and written again differs
  } catch {
    return [400, "the signature does not fit"];
  }
  const id = headers["webhook-id"];
  if (ids.has(id)) return [202, "duplicate"];
  ids.add(id);
  jobs.emit("job", id, event);
  return [202, "accepted"];
}

// Stands in for Slack, for those who have none. Notifications are not signed.
function note(body) {
  console.log(`note  ${body}`);
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
    response.destroy(); // too large, or the sender went away half-way through
  }
});

work();
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`);
});
