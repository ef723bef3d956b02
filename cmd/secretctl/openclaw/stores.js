// Runs in the node that OpenClaw itself runs on: node -e THIS DIR <ORDER.
// Reads the auth-profile stores, or replaces values in the shared one.
const { DatabaseSync } = require("node:sqlite");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const dir = process.argv[1];
const shared = "state/openclaw.sqlite";
const cell = "config_machine_state WHERE state_key = 'authProfiles.store'";

function open(file, readOnly) {
  const db = new DatabaseSync(path.join(dir, file), { readOnly });
  db.exec("PRAGMA busy_timeout = 5000");
  return db;
}

function has(db, table) {
  return db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(table) !== undefined;
}

function files() {
  const found = [];
  if (fs.existsSync(path.join(dir, shared))) found.push({ file: shared, agent: "" });
  const agents = path.join(dir, "agents");
  for (const agent of fs.existsSync(agents) ? fs.readdirSync(agents) : []) {
    const file = "agents/" + agent + "/agent/openclaw-agent.sqlite";
    if (fs.existsSync(path.join(dir, file))) found.push({ file, agent });
  }
  return found;
}

function read() {
  const stores = [];
  for (const { file, agent } of files()) {
    const db = open(file, true);
    const rows = agent === ""
      ? (has(db, "config_machine_state") ? db.prepare("SELECT value_json AS json FROM " + cell).all() : [])
      : (has(db, "auth_profile_store") ? db.prepare("SELECT store_json AS json FROM auth_profile_store").all() : []);
    for (const { json } of rows) stores.push({ file, agent, store: JSON.parse(json) });
    db.close();
  }
  return stores;
}

function replace(changes) {
  const db = open(shared, false);
  db.exec("PRAGMA secure_delete = ON; BEGIN IMMEDIATE");
  const store = JSON.parse(db.prepare("SELECT value_json AS json FROM " + cell).get().json);
  let replaced = 0;
  for (const { profile, field, ref, sha256 } of changes) {
    const p = store.profiles?.[profile];
    if (typeof p?.[field] !== "string") continue;
    if (createHash("sha256").update(p[field].trim()).digest("hex") !== sha256) continue;
    delete p[field];
    p[field + "Ref"] = ref;
    replaced++;
  }
  db.prepare("UPDATE config_machine_state SET value_json = ?, updated_at_ms = ? WHERE state_key = 'authProfiles.store'")
    .run(JSON.stringify(store), Date.now());
  db.exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
  return replaced;
}

// Old values stay in the free pages of a database, and in its log, until then.
function compact(file) {
  const db = open(file, false);
  db.exec("PRAGMA secure_delete = ON; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
}

const order = JSON.parse(fs.readFileSync(0, "utf8"));
let answer = {};
if (order.read) answer.stores = read();
if (order.changes) answer.replaced = replace(order.changes);
for (const file of order.compact ?? []) compact(file);
fs.writeSync(1, JSON.stringify(answer));
