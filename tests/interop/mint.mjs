// Mints JWTs as an EHR written in JavaScript does: a fresh key and a token for each algorithm.
//
// Prints one JSON line each: {"library": …, "alg": …, "jwk": the public key, "token": …}.
// `tests/run` has put the library where this looks for it: below target/test-tools/node.

import { randomUUID, webcrypto } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

// Node 18, which Debian 12 and Ubuntu 24.04 carry, has it but not as a global.
globalThis.crypto ??= webcrypto;

const ALGORITHMS = ["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"];
// One vendor's key ids are plain base64 of a thumbprint: with `+`, `/` and `=`, which a URL or a file name would bend.
const PLAIN_BASE64_KID = "ES384";

const { values: args } = parseArgs({
  options: {
    iss: { type: "string" },
    aud: { type: "string", multiple: true },
    iat: { type: "string" },
    exp: { type: "string" },
    tenant: { type: "string" },
    jku: { type: "string" },
  },
});
for (const name of ["iss", "aud", "iat", "exp"]) {
  if (args[name] === undefined) throw new Error(`--${name} is required`);
}

const tools = new URL("../../target/test-tools/node/", import.meta.url);
const installed = createRequire(tools);
const jose = await import(pathToFileURL(installed.resolve("jose")).href);
const { version } = installed("jose/package.json");

function claims() {
  const said = {
    iss: args.iss,
    aud: args.aud.length > 1 ? args.aud : args.aud[0],
    iat: Number(args.iat),
    exp: Number(args.exp),
    jti: randomUUID(),
  };
  return args.tenant === undefined ? said : { ...said, tenant: args.tenant };
}

async function keyId(alg, publicJwk) {
  const thumbprint = await jose.calculateJwkThumbprint(publicJwk);
  return alg === PLAIN_BASE64_KID ? Buffer.from(thumbprint, "base64url").toString("base64") : thumbprint;
}

// Draws keys until the id shows the characters that it has to show.
async function newKey(alg) {
  for (;;) {
    const pair = await jose.generateKeyPair(alg, { extractable: true });
    const publicJwk = await jose.exportJWK(pair.publicKey);
    const kid = await keyId(alg, publicJwk);
    if (alg !== PLAIN_BASE64_KID || (kid.includes("+") && kid.includes("/"))) {
      return { privateKey: pair.privateKey, publicJwk: { ...publicJwk, kid, alg, use: "sig" } };
    }
  }
}

for (const alg of ALGORITHMS) {
  const { privateKey, publicJwk } = await newKey(alg);
  const header = { alg, typ: "JWT", kid: publicJwk.kid };
  if (args.jku !== undefined) header.jku = args.jku;
  const token = await new jose.SignJWT(claims()).setProtectedHeader(header).sign(privateKey);
  console.log(JSON.stringify({ library: `jose ${version}`, alg, jwk: publicJwk, token }));
}
