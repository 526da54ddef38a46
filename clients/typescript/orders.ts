// Register a webhook for the URL in the argument, post an order, and print its outcome.

import { setTimeout as wait } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const tenant = "typescript-example";
const api = createClient<paths>({
  baseUrl: process.env.HOOKKEEPER_URL ?? "http://127.0.0.1:8080",
  headers: { authorization: `Bearer ${process.env.HOOKKEEPER_API_KEY}` },
});

// Posts an event, and repeats the request with the same id if it may not have been accepted.
async function send(event: components["schemas"]["NewEvent"]) {
  const body = { id: `evt_${crypto.randomUUID()}`, ...event };
  for (const seconds of [0.5, 2, 5, 0]) {
    const { data, error } = await api.POST("/v1/events", { body }).catch(() => ({ data: undefined, error: undefined }));
    if (data) return data;
    if (error && error.status !== 429 && error.status !== 503) throw new Error(error.detail);
    await wait(seconds * 1000);
  }
  throw new Error(`no answer: post it again with the id ${body.id}`);
}

// Creates the webhook with this uid, or changes its URL.
async function register(uid: string, url: string | undefined) {
  const path = { webhook_id: uid };
  const known = await api.PATCH("/v1/webhooks/{webhook_id}", { params: { path, query: { tenant } }, body: { url } });
  if (known.data) return;
  const { error } = await api.POST("/v1/webhooks", { body: { uid, tenant, url, events: ["order.*"] } });
  if (error) throw new Error(JSON.stringify(error));
}

await register("orders", process.argv[2]);
const { id } = await send({ tenant, type: "order.paid", data: { order: 4711 } });
for (;;) {
  const { data: event } = await api.GET("/v1/events/{event_id}", {
    params: { path: { event_id: id }, query: { tenant } },
  });
  if (event && event.status !== "delivering") {
    console.log(`${event.id}  ${event.status}`);
    break;
  }
  await wait(200);
}
