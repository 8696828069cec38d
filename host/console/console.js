// The console: what runs, changing it, and what happens, by the control API.
// Everything that comes from outside is put in as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const KEY = "shema-control-token";
const SHOWN = 3; // Of retired and refused versions.
const EVENTS = 100;
const REFRESH_MS = 3000;
const GOOD = new Set(["live", "up", "ready"]);
const WARN = new Set(["canary", "checking", "draining", "catching-up"]);
const BAD = new Set(["refused", "missing", "down", "fenced", "trap", "rollback", "delete"]);

let token = sessionStorage.getItem(KEY);
let session = null; // An AbortController: ends all requests of this login.
let seen = new Set(); // Names of the components that are on the screen.
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) seen.add(target.dataset.name);
    else seen.delete(target.dataset.name);
  }
});

/** An element with properties and children; a text becomes a text node. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function tone(word) {
  return GOOD.has(word) ? "good" : WARN.has(word) ? "warn" : BAD.has(word) ? "bad" : "";
}

const chip = (word, text = word) => make("span", { className: `chip ${tone(word)}` }, text);

function since(time) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

function bytes(count) {
  if (!(count >= 0)) return "";
  if (count < 1024) return `${count} B`;
  return count < 1 << 20 ? `${Math.floor(count / 1024)} KiB` : `${(count / (1 << 20)).toFixed(1)} MiB`;
}

const ms = (value) => (value >= 100 ? `${Math.round(value)} ms` : `${Number(value ?? 0).toFixed(1)} ms`);

function say(text, bad = false) {
  const line = make("p", { className: bad ? "bad" : "" }, text);
  byId("said").append(line);
  setTimeout(() => line.remove(), bad ? 9000 : 5000);
}

// ---------------------------------------------------------------- requests

async function ask(method, path, body) {
  const headers = { authorization: `Bearer ${token}`, "x-shema-actor": "console" };
  if (body) headers["content-type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: session.signal });
  if (response.status === 401) {
    leave("The host does not know this token.");
    throw new Error("The host does not know this token.");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok && path !== "health") throw new Error(answer?.error?.message ?? `The host answers ${response.status}.`);
  return answer;
}

const component = (name, rest = "") => `v1/components/${encodeURIComponent(name)}${rest}`;

async function change(method, path, body) {
  try {
    const answer = await ask(method, path, body);
    say(answer?.message || "Done.");
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  }
  await refresh();
}

// ------------------------------------------------------------------- asking

/** Resolves to what was chosen, or null. */
function confirmed({ title, text, yes, share }) {
  const dialog = byId("ask");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  byId("ask-share").hidden = !share;
  byId("share").value = share || 5;
  byId("shadow").checked = false;
  showShare();
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const chosen = { weight: Number(byId("share").value), shadow: byId("shadow").checked };
      resolve(dialog.returnValue === "yes" ? chosen : null);
    }, { once: true });
  });
}

function showShare() {
  byId("share-value").textContent = `${byId("share").value} %`;
}

async function tryOut(name, version) {
  const share = version.state === "canary" ? version.weight : 5;
  const title = `Try ${name}@${version.version}`;
  const text = "The other clients stay with the version that is live. Who gets it keeps it.";
  const chosen = await confirmed({ title, text, yes: "Try it", share });
  if (chosen) await change("POST", component(name, "/activate"), { version: version.version, ...chosen });
}

async function activate(name, version) {
  const title = `Make ${name}@${version.version} live?`;
  const text = "All requests that begin from then on go to it. Those under way are finished by the version that has them.";
  if (await confirmed({ title, text, yes: "Make it live" })) {
    await change("POST", component(name, "/activate"), { version: version.version, weight: 100 });
  }
}

async function rollback(name) {
  const text = "Ends a trial, or else makes the version live again that was live before.";
  if (await confirmed({ title: `Roll ${name} back?`, text, yes: "Roll back" })) {
    await change("POST", component(name, "/rollback"));
  }
}

async function withdraw(name, mounts) {
  const text = `${mounts.join(", ")} will answer 503 until it is deployed or activated again.`;
  if (await confirmed({ title: `Withdraw ${name}?`, text, yes: "Withdraw" })) await change("DELETE", component(name));
}

// ------------------------------------------------------------------ drawing

function button(text, act, className = "") {
  const made = make("button", { type: "button", className }, text);
  made.addEventListener("click", act);
  return made;
}

function versionRow(name, version) {
  const { state } = version;
  const serving = state === "live" || state === "canary";
  const actions = [];
  if (state === "canary") actions.push(button("Make live", () => activate(name, version), "main"));
  if (state === "canary") actions.push(button("Share …", () => tryOut(name, version)));
  if (["ready", "retired", "draining"].includes(state)) {
    actions.push(button("Activate", () => activate(name, version)), button("Try …", () => tryOut(name, version)));
  }
  const made = [since(version.deployed_at), version.deployed_by && `by ${version.deployed_by}`, bytes(version.size_bytes)];
  const row = make("div", { className: `version-row ${state}` },
    make("span", { className: "version" }, version.version),
    make("span", {}, chip(state)),
    make("span", { className: "share" }, serving && (version.weight > 0
      ? [make("progress", { max: 100, value: version.weight }), `${version.weight} %`]
      : "in the shadow")),
    make("span", { className: "made" }, made.filter(Boolean).join(" · ")),
    make("span", { className: "actions" }, actions),
    version.reason && make("span", { className: "reason" }, version.reason),
    make("div", { className: "stats" }));
  row.dataset.version = version.version;
  return row;
}

function card(described) {
  const { name, mounts = [], versions = [], world, grants, limits } = described;
  const ended = (version) => ["retired", "refused"].includes(version.state);
  const shown = versions.filter((version, index) => index < SHOWN || !ended(version));
  const older = versions.filter((version) => !shown.includes(version));
  const has = (...states) => versions.some((version) => states.includes(version.state));
  const serving = has("live", "canary");
  const made = make("article", { className: "card" },
    make("header", {},
      make("h3", { className: "mono" }, name),
      world && !world.startsWith("shema") && chip("", world),
      !serving && chip("missing"),
      make("span", { className: "mounts mono" }, mounts.join("  ")),
      make("span", { className: "actions" },
        has("canary", "draining", "retired") && button("Roll back", () => rollback(name)),
        serving && button("Withdraw", () => withdraw(name, mounts), "quiet"))),
    shown.map((version) => versionRow(name, version)),
    older.length > 0 && make("details", {}, make("summary", {}, `${older.length} older`),
      older.map((version) => versionRow(name, version))),
    make("details", {}, make("summary", {}, "Grants and limits"),
      make("pre", { className: "mono" }, JSON.stringify({ grants, limits }, null, 2))));
  made.dataset.name = name;
  made.dataset.drawn = JSON.stringify(described);
  return made;
}

/** Draws anew only what has changed, so that focus and open details stay. */
function drawComponents(components) {
  const place = byId("components");
  const old = new Map([...place.children].map((child) => [child.dataset.name, child]));
  const cards = components.map((described) => {
    const before = old.get(described.name);
    if (before?.dataset.drawn === JSON.stringify(described)) return before;
    if (before) observer.unobserve(before);
    const made = card(described);
    observer.observe(made);
    return made;
  });
  if (!cards.length) cards.push(make("p", { className: "note" }, "Nothing is deployed. Begin with: shema deploy NAME FILE.wasm"));
  if (cards.length !== place.children.length || cards.some((made, index) => made !== place.children[index])) {
    place.replaceChildren(...cards);
  }
}

function drawStats({ component: name, versions = [] }) {
  const drawn = [...byId("components").children].find((child) => child.dataset.name === name);
  for (const numbers of versions) {
    const rows = drawn ? [...drawn.querySelectorAll(".version-row")] : [];
    const row = rows.find((candidate) => candidate.dataset.version === numbers.version);
    if (!row) continue;
    const figure = (label, value, bad = false) =>
      make("span", { className: bad ? "bad" : "" }, make("b", {}, String(value)), ` ${label}`);
    row.querySelector(".stats").replaceChildren(
      figure("requests", numbers.requests.toLocaleString("en")),
      figure("errors", numbers.errors, numbers.errors > 0),
      ...(numbers.traps ? [figure("traps", numbers.traps, true)] : []),
      ...(numbers.timeouts ? [figure("timeouts", numbers.timeouts, true)] : []),
      figure("p50", ms(numbers.p50_ms)), figure("p95", ms(numbers.p95_ms)), figure("p99", ms(numbers.p99_ms)),
      figure("instances", numbers.instances),
      figure("at most", bytes(numbers.peak_memory_bytes)),
      ...(numbers.compared ? [figure(`of ${numbers.compared} answers differ`, numbers.different, numbers.different > 0)] : []));
  }
}

function drawNodes(nodes) {
  byId("nodes").replaceChildren(...nodes.map((node) => make("li", {},
    make("span", { className: "mono" }, String(node.node).slice(0, 13)), " ", chip(node.state),
    make("div", { className: "when" }, `${node.public} · since ${since(node.started_at)}`))));
}

function drawHealth(health) {
  const states = ["database", "redis"].map((name) => chip(health[name], `${name} ${health[name]}`));
  byId("health").replaceChildren(...states);
}

function drawEvent(event) {
  const time = new Date(event.at).toLocaleTimeString([], { hour12: false });
  const item = make("li", {},
    make("div", {}, chip(event.kind), " ", make("span", { className: "when" }, time)),
    make("div", {}, event.message || `${event.component}@${event.version}`));
  const list = byId("events");
  list.prepend(item);
  while (list.children.length > EVENTS) list.lastChild.remove();
}

// ---------------------------------------------------------------- refreshing

let running = null;
let again = false;

/** One at a time: what happens meanwhile is shown by one more. */
function refresh() {
  again = running !== null;
  running ??= load().finally(() => {
    running = null;
    if (again && !session.signal.aborted) refresh().catch(() => undefined);
  });
  return running;
}

async function load() {
  const [components, nodes, health] =
    await Promise.all([ask("GET", "v1/components"), ask("GET", "v1/nodes"), ask("GET", "health")]);
  drawComponents(components);
  drawNodes(nodes);
  drawHealth(health);
  // Only what is looked at: there may be a thousand.
  const names = components.map(({ name }) => name).filter((name) => seen.has(name));
  for (const name of names) drawStats(await ask("GET", component(name, "/stats")));
}

async function keepFresh(signal) {
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        await refresh();
      } catch (error) {
        if (signal.aborted) return;
        byId("health").replaceChildren(chip("down", "the host does not answer"));
      }
    }
    await pause(REFRESH_MS);
  }
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** EventSource cannot send a token, so the stream is read by hand. */
async function follow(signal) {
  while (!signal.aborted) {
    try {
      const headers = { authorization: `Bearer ${token}`, "last-event-id": "0" };
      const response = await fetch("v1/events", { headers, signal });
      if (!response.ok) throw new Error(String(response.status));
      byId("events").replaceChildren();
      byId("stream").className = "chip good";
      byId("stream").textContent = "live";
      await read(response.body);
    } catch {
      if (signal.aborted) return;
    }
    byId("stream").className = "chip bad";
    byId("stream").textContent = "interrupted";
    await pause(REFRESH_MS);
  }
}

async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) drawEvent(JSON.parse(data));
    }
    // Whatever has happened shows at once.
    refresh().catch(() => undefined);
  }
}

// ------------------------------------------------------------------- session

function enter() {
  session = new AbortController();
  byId("login").hidden = true;
  byId("console").hidden = byId("leave").hidden = false;
  keepFresh(session.signal);
  follow(session.signal);
}

function leave(why = "") {
  session?.abort();
  token = null;
  sessionStorage.removeItem(KEY);
  byId("console").hidden = byId("leave").hidden = true;
  byId("login").hidden = false;
  byId("login-error").textContent = why;
  byId("health").replaceChildren();
  byId("token").focus();
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  byId("token").value = "";
  sessionStorage.setItem(KEY, token);
  enter();
});
byId("leave").addEventListener("click", () => leave());
byId("share").addEventListener("input", showShare);

const root = document.documentElement;
root.dataset.theme = localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
byId("theme").addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

if (token) enter();
else leave();
