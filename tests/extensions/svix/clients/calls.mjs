// Thirty calls of Svix's JavaScript client, unchanged, as its documentation shows them.
// node calls.mjs <url> <key> <url of a receiver> <id of an application>

import assert from "node:assert/strict";
import { Svix, ApiException } from "svix";

const [serverUrl, key, receiver, app] = process.argv.slice(2);
const svix = new Svix(key, { serverUrl });
let calls = 0;

async function call(promise) {
  calls += 1;
  return await promise;
}

async function fails(promise, code) {
  calls += 1;
  await assert.rejects(promise, (error) => error instanceof ApiException && error.code === code);
}

await call(svix.health.get());
const made = await call(svix.application.create({ name: "Acme", uid: app, metadata: { plan: "pro" } }));
assert.equal(made.uid, app);
assert.equal((await call(svix.application.getOrCreate({ name: "Other", uid: app }))).name, "Acme");
assert.equal((await call(svix.application.get(app))).metadata.plan, "pro");
assert.ok((await call(svix.application.list({ limit: 50 }))).data.some((each) => each.id === app));
await call(svix.application.patch(app, { name: "Acme Ltd" }));
assert.equal((await call(svix.application.upsert(app, { name: "Acme", uid: app }))).name, "Acme");
await fails(svix.application.create({ name: "Acme", uid: app }), 409);

const schemas = { 1: { type: "object", required: ["order"], examples: [{ order: 1 }] } };
await call(svix.eventType.create({ name: "js.paid", description: "Paid", schemas }));
assert.deepEqual((await call(svix.eventType.get("js.paid"))).schemas, schemas);
await call(svix.eventType.upsert("js.paid", { description: "It is paid", schemas }));
assert.ok((await call(svix.eventType.list())).data.some((each) => each.name === "js.paid"));

const endpoint = await call(
  svix.endpoint.create(app, { url: receiver, uid: "shop", eventTypes: ["js.paid"], throttleRate: 50 }),
);
assert.deepEqual(endpoint.eventTypes, ["js.paid"]);
assert.equal((await call(svix.endpoint.get(app, "shop"))).id, endpoint.id);
assert.equal((await call(svix.endpoint.list(app))).data.length, 1);
await call(svix.endpoint.patch(app, "shop", { description: "Shop" }));
await call(svix.endpoint.setHeaders(app, "shop", { headers: { "x-shop": "1" } }));
assert.deepEqual((await call(svix.endpoint.getHeaders(app, "shop"))).headers, { "x-shop": "1" });
await call(svix.endpoint.rotateSecret(app, "shop", {}));
assert.match((await call(svix.endpoint.getSecret(app, "shop"))).key, /^whsec_/);
await fails(svix.endpoint.create(app, { url: "ftp://acme.example" }), 422);

const message = await call(svix.message.create(app, { eventType: "js.paid", eventId: "m-1", payload: { order: 4711 } }));
assert.equal(message.eventId, "m-1");
assert.deepEqual((await call(svix.message.get(app, message.id, { withContent: true }))).payload, { order: 4711 });
assert.equal((await call(svix.message.list(app, { eventTypes: ["js.paid", "js.sent"] }))).data[0].id, message.id);

let attempts = [];
for (calls += 1; attempts.length === 0; await new Promise((wait) => setTimeout(wait, 100))) {
  attempts = (await svix.messageAttempt.listByMsg(app, message.id, { after: new Date(0) })).data;
}
assert.deepEqual([attempts[0].status, attempts[0].responseStatusCode], [0, 200]);
assert.equal((await call(svix.messageAttempt.get(app, message.id, attempts[0].id))).url, receiver);
assert.equal((await call(svix.messageAttempt.listByEndpoint(app, "shop"))).data.length, 1);
assert.equal((await call(svix.messageAttempt.listAttemptedDestinations(app, message.id))).data[0].id, endpoint.id);
await call(svix.messageAttempt.resend(app, message.id, "shop"));
assert.deepEqual((await call(svix.endpoint.sendExample(app, "shop", { eventType: "js.paid" }))).payload, { order: 1 });
assert.ok((await call(svix.authentication.appPortalAccess(app, {}))).url);
await call(svix.endpoint.delete(app, "shop"));
await call(svix.application.delete(app));
console.log(calls);
