// What the client does with a real server; tests/client/test_typescript.py runs it with POSTROOM_URL,
// POSTROOM_API_KEY, DOMAIN, and PROXY: a way to the server that breaks connections.
import assert from "node:assert/strict";
import { Client, PostroomError } from "@postroom/client";

const { DOMAIN: domain, PROXY: url } = process.env;
const user_id = "user_123";
const client = new Client();

const made = await client.call("accounts.create", { body: { domain, local_part: "billing", user_id } });
assert.equal(made.account.address, `billing@${domain}`);
assert.equal(made.account.is_default, true);
assert.ok(made.password.length > 20);
assert.match(made.account.created_at, /^\d{4}-/);

for (const local_part of ["a", "b", "c", "d"]) await client.call("accounts.create", { body: { domain, local_part, user_id } });
const found = [];
for await (const account of client.list("accounts.get_page", { query: { user_id, limit: 2, q: undefined } })) found.push(account.local_part);
assert.deepEqual(found, ["billing", "a", "b", "c", "d"]);

const { id } = made.account;
assert.deepEqual((await client.call("accounts.get", { path: { id } })).account, made.account);
const renamed = await client.call("accounts.update", { path: { id }, body: { display_name: "Rechnung ü", status: "suspended" } });
assert.deepEqual([renamed.account.display_name, renamed.account.status], ["Rechnung ü", "suspended"]);

const refused = await client.call("accounts.create", { body: { domain, local_part: "billing", user_id } }).catch((error) => error);
assert.ok(refused instanceof PostroomError);
assert.deepEqual([refused.code, refused.status], ["address_exists", 409]);
assert.ok(refused.requestId);
const wrong = await client.call("accounts.create", { body: { domain, local_part: "a b", user_id } }).catch((error) => error);
assert.deepEqual(wrong.errors.map((error) => error.field), ["local_part"]);
for (const name of ["..", ".", ""]) await assert.rejects(client.call("domains.get", { path: { domain: name } }), TypeError);
const missing = await client.call("domains.get", { path: { domain: "a/../b.test" }, query: { user_id } }).catch((error) => error);
assert.equal(missing.code, "not_found");
assert.match(missing.detail, /^No domain of yours/); // one segment still: the route is the same
assert.equal((await client.call("health.alive")).status, "ok");
assert.match(await client.call("metrics.get"), /^# HELP/);

// Through connections that break: carried out once, and answered.
const broken = new Client({ url });
const once = await broken.call("accounts.create", { body: { domain, local_part: "once", user_id } });
assert.equal(once.account.local_part, "once");
const again = { body: { domain, local_part: "twice", user_id }, idempotencyKey: "order 42" };
const first = await client.call("accounts.create", again);
assert.equal((await client.call("accounts.create", again)).password, first.password);
const unreachable = await new Client({ url: "http://127.0.0.1:1", retries: 0 }).call("health.alive").catch((error) => error);
assert.deepEqual([unreachable.code, unreachable.status], ["unreachable", 0]);
const keyless = await new Client({ apiKey: "pr_wrong" }).call("stats.get").catch((error) => error);
assert.equal(keyless.code, "unauthorized");
assert.ok(!JSON.stringify(client).includes(process.env.POSTROOM_API_KEY));
console.log(JSON.stringify({ accounts: found.length, id }));
