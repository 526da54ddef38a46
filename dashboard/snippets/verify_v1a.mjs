import { createPublicKey, verify } from "node:crypto";

const KEY = "whpk_KEY"; // the public key: it is no secret
const SPKI = "MCowBQYDK2VwAyEA"; // what precedes the bytes of an ed25519 key in DER
const TOLERANCE = 300; // seconds
const MAX_SIGNATURES = 10; // each costs a look at the whole body

// `headers` is `request.headers`; `body` is the Buffer as it arrived, before it is parsed.
export function isGenuine(headers, body) {
  const sentAt = headers["webhook-timestamp"] ?? "";
  if (!/^\d{1,12}$/.test(sentAt) || Math.abs(Date.now() / 1000 - Number(sentAt)) > TOLERANCE) return false;
  const der = Buffer.from(SPKI + KEY.slice("whpk_".length), "base64");
  const key = createPublicKey({ key: der, format: "der", type: "spki" });
  const content = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${sentAt}.`), body]);
  return (headers["webhook-signature"] ?? "").split(" ", MAX_SIGNATURES).some((one) => {
    const [version, signature = ""] = one.split(",");
    return version === "v1a" && verify(null, content, key, Buffer.from(signature, "base64"));
  });
}
