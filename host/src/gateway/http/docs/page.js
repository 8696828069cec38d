// Shows an OpenAPI document. What is in it is put into the page as text only,
// because parts of it come from components.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
let whole = {};

/** An element; children are elements, texts or nothing. */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** What a reference stands for, and its name. */
function resolve(value) {
  let name;
  for (let hops = 0; value && value.$ref && hops < 10; hops += 1) {
    const steps = value.$ref.slice(2).split("/");
    name = steps[steps.length - 1];
    value = steps.reduce((at, step) => (at || {})[step.replace(/~1/g, "/").replace(/~0/g, "~")], whole);
  }
  return [value === undefined ? {} : value, name];
}

/** One object of all that `allOf` says. */
function flattened(schema) {
  const [own, name] = resolve(schema);
  if (!own || !own.allOf) return [own, name];
  const merged = { ...own, properties: { ...own.properties }, required: [...(own.required || [])] };
  for (const part of own.allOf) {
    const [other] = flattened(part);
    for (const [key, value] of Object.entries(other.properties || {})) {
      const before = merged.properties[key];
      merged.properties[key] = before ? { allOf: [before, value] } : value;
    }
    merged.required.push(...(other.required || []));
    if (other.type) merged.type = other.type;
    if (other.enum) merged.enum = other.enum;
  }
  delete merged.allOf;
  return [merged, name];
}

/** The alternatives of a schema that are not null, and whether null is one. */
function alternatives(schema) {
  const all = schema.anyOf || schema.oneOf || [];
  const shown = all.filter((one) => resolve(one)[0].type !== "null" && Object.keys(one).join() !== "required");
  return [shown, all.length > shown.length && all.some((one) => one.type === "null")];
}

function kindOf(schema) {
  const [own, name] = flattened(schema);
  if (own === false) return "never";
  if (own === true || !own) return "anything";
  const short = name && name.split(".").pop();
  if ("const" in own) return JSON.stringify(own.const);
  const [shown, nullable] = alternatives(own);
  if (shown.length && !own.properties) return shown.map(kindOf).join(" | ") + (nullable ? " | null" : "");
  const types = [].concat(own.type || (own.properties ? "object" : "anything"));
  return types
    .map((type) => {
      if (type === "array") {
        const of = kindOf(own.items || {});
        return of.includes(" ") ? `(${of})[]` : `${of}[]`;
      }
      if (type === "object" && short) return short;
      if (type === "string" && own.enum) return own.enum.filter((word) => word !== null).join(" | ");
      if (type === "string" && own.format) return own.format;
      return type;
    })
    .join(" | ");
}

const number = (value) => (typeof value === "number" && Math.abs(value) <= 1e15 ? String(value) : null);

function rulesOf(schema) {
  const [own] = flattened(schema);
  const rules = [];
  const range = (low, high, unit) => {
    const [from, to] = [number(low), number(high)];
    if (from !== null && to !== null) rules.push(from === to ? `${from}${unit}` : `${from} … ${to}${unit}`);
    else if (from !== null) rules.push(`≥ ${from}${unit}`);
    else if (to !== null) rules.push(`≤ ${to}${unit}`);
  };
  range(own.minimum, own.maximum, "");
  range(own.minLength, own.maxLength, " characters");
  range(own.minItems, own.maxItems, " items");
  if (own.default !== undefined) rules.push(`default ${own.default}`);
  // Patterns that only say "some text" are for programs.
  const pattern = own.pattern && !own.pattern.includes("\\x00") ? el("code", null, own.pattern) : null;
  const items = own.items ? rulesOf(own.items) : [];
  return [...rules, ...(pattern ? [pattern] : []), ...items.map((rule) => (typeof rule === "string" ? `each ${rule}` : rule))];
}

function rule(parts) {
  if (!parts.length) return null;
  const spaced = parts.flatMap((part, index) => (index ? [", ", part] : [" ", part]));
  return el("span", { class: "rule" }, ...spaced);
}

/** The members of what a schema describes, down to a depth. In an answer most
    are always there, so the others are marked. */
function tree(schema, answer = false, depth = 0) {
  const [own] = flattened(schema);
  if (!own || own === true || depth > 5) return null;
  if (own.items) return tree(own.items, answer, depth);
  const [shown] = alternatives(own);
  const parts = [];
  const needed = new Set(own.required || []);
  const members = Object.entries(own.properties || {}).filter(([, member]) => member !== false);
  // What has to be there comes first, and before it what names the thing.
  const rank = (name) => (needed.has(name) ? 1 : 0) + (name === "id" ? 2 : 0);
  members.sort(([one], [other]) => rank(other) - rank(one));
  if (members.length) {
    parts.push(
      el("ul", { class: "tree" }, members.map(([name, member]) => {
        const [inner] = flattened(member);
        return el(
          "li", null,
          el("span", { class: needed.has(name) && !answer ? "name needed" : "name" }, name), " ",
          el("span", { class: "kind" }, kindOf(member)),
          answer && !needed.has(name) && el("span", { class: "rule" }, " sometimes"),
          rule(rulesOf(member)),
          inner && inner.description && el("span", { class: "rule" }, ` — ${inner.description.replace(/`/g, "")}`),
          tree(member, answer, depth + 1),
        );
      })),
    );
  }
  const refused = Object.entries(own.properties || {}).filter(([, member]) => member === false).map(([name]) => name);
  refused.push(...Object.keys(own.patternProperties || {}).map((pattern) => pattern.replace("^", "") + "…"));
  if (refused.length) parts.push(el("p", { class: "note" }, `Refused: ${refused.join(", ")}`));
  const trees = shown.map((one) => tree(one, answer, depth)).filter(Boolean);
  trees.forEach((one, index) => parts.push(trees.length > 1 ? el("p", { class: "note" }, `either (${index + 1})`) : null, one));
  const present = parts.filter(Boolean);
  return present.length ? el("div", null, ...present) : null;
}

const SAMPLES = {
  uuid: "0b9f2b1e-4c0a-4d1b-9a52-6f0f0c6a7e11", "date-time": "2026-01-31T09:00:00.000Z", date: "2026-01-31", email: "siti@example.org",
};

function sample(schema, depth = 0) {
  const [own] = flattened(schema);
  if (!own || own === true || depth > 6) return null;
  if ("const" in own) return own.const;
  if (own.enum) return own.enum[0];
  const [shown] = alternatives(own);
  if (shown.length && !own.properties) return sample(shown[0], depth + 1);
  switch ([].concat(own.type)[0]) {
    case "array": return [sample(own.items || {}, depth + 1)];
    case "integer": case "number": return Math.max(own.minimum || 0, 1);
    case "boolean": return true;
    case "string": {
      if (own.pattern && own.pattern.startsWith("^\\+62")) return "+628111222333";
      if (own.pattern && own.pattern.startsWith("^https")) return "https://example.org/a.png";
      if (own.pattern && own.pattern.includes(":[0-5]")) return "09:00";
      return SAMPLES[own.format] || "text";
    }
    default: break;
  }
  const members = Object.entries(own.properties || {}).filter(([, member]) => member !== false);
  return Object.fromEntries(members.map(([name, member]) => [name, sample(member, depth + 1)]));
}

function sampleOf(schema, title) {
  const body = el("pre", null, JSON.stringify(sample(schema), null, 2));
  return el("details", { class: "sample" }, el("summary", null, title), body);
}

function parameters(list) {
  const item = (parameter) => el(
    "li", null,
    el("span", { class: parameter.required ? "name needed" : "name" }, parameter.name), " ",
    el("span", { class: "kind" }, kindOf(parameter.schema || {})),
    rule([...rulesOf(parameter.schema || {}), ...(parameter.description ? [parameter.description.replace(/`/g, "")] : [])]),
  );
  return ["path", "query", "header"].flatMap((place) => {
    const here = list.map((parameter) => resolve(parameter)[0]).filter((parameter) => parameter.in === place);
    return here.length ? [el("h3", null, `In the ${place}`), el("ul", { class: "tree" }, here.map(item))] : [];
  });
}

function response(status, given) {
  const [answer] = resolve(given);
  const [kind, media] = Object.entries(answer.content || {})[0] || [];
  const good = status.startsWith("2");
  const head = [
    el("span", { class: good ? "status good" : "status" }, status),
    el("span", { class: "codes" }, good && kind !== "application/json" ? `${answer.description} (${kind})` : answer.description),
  ];
  if (!good || !media) return el("div", { class: "response plain" }, head);
  const [schema] = flattened(media.schema || {});
  const data = (schema.properties || {}).data;
  const shown = data || media.schema;
  return el(
    "details", { class: "response", open: true },
    el("summary", null, head),
    data && el("div", null, el("span", { class: "name" }, "data"), " ", el("span", { class: "kind" }, kindOf(data))),
    tree(shown, true),
    sampleOf(media.schema, "Example"),
  );
}

function credentials(security) {
  if (!security || !security.length) return ["Open to everybody"];
  const schemes = (whole.components || {}).securitySchemes || {};
  const words = security.map((way) => {
    const names = Object.keys(way);
    if (!names.length) return "nothing at all";
    return names.map((name) => {
      const scheme = schemes[name] || {};
      return scheme.type === "http" ? "access token" : scheme.name || name;
    }).join(" and ");
  });
  return [`Needs ${words.join(", or ")}`];
}

function inside(operation) {
  const facts = [...credentials(operation.security), operation.operationId].filter(Boolean);
  if (operation.deprecated) facts.unshift("Deprecated");
  const [body] = resolve(operation.requestBody || {});
  const media = (body.content || {})["application/json"];
  return el(
    "div", { class: "inside" },
    el("div", { class: "facts" }, facts.map((fact) => el("span", { class: "chip" }, fact))),
    operation.description && el("p", { class: "note" }, operation.description.replace(/`/g, "")),
    parameters(operation.parameters || []),
    media && [
      el("h3", null, body.required ? "Body" : "Body (optional)"),
      tree(media.schema) || el("p", { class: "note" }, "an object"),
      sampleOf(media.schema, "Example"),
    ],
    el("h3", null, "Answers"),
    Object.entries(operation.responses || {}).map(([status, answer]) => response(status, answer)),
  );
}

function pathOf(path) {
  const parts = path.split(/(\{[^}]*\})/).map((part) => (part.startsWith("{") ? el("i", null, part) : part));
  return el("span", { class: "path" }, parts);
}

function entry(path, method, operation) {
  const id = operation.operationId || `${method} ${path}`;
  const details = el(
    "details", { class: operation.deprecated ? "operation old" : "operation", id },
    el(
      "summary", null,
      el("span", { class: `method ${method}` }, method), pathOf(path), el("span", { class: "gist" }, operation.summary || ""),
    ),
  );
  // Made when it is opened: there are many, and few are read.
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length < 2) details.append(inside(operation));
  });
  const codes = Object.values(operation.responses || {}).map((answer) => resolve(answer)[0].description);
  details.words = [method, path, id, operation.summary, ...codes].join(" ").toLowerCase();
  return details;
}

function show(main, nav) {
  const byTag = new Map();
  for (const [path, item] of Object.entries(whole.paths || {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      byTag.set(tag, [...(byTag.get(tag) || []), entry(path, method, item[method])]);
    }
  }
  const about = ((whole.info || {}).description || "").split("\n\n").map((text) => el("p", null, text.replace(/`/g, "")));
  main.replaceChildren(el("div", { class: "about" }, about));
  for (const [tag, entries] of [...byTag].sort(([one], [other]) => (one < other ? -1 : 1))) {
    const count = el("span", null, String(entries.length));
    const link = el("a", { href: `#tag-${tag}` }, tag, count);
    const section = el("section", { id: `tag-${tag}` }, el("h2", null, tag), entries);
    section.link = link;
    section.count = count;
    nav.append(link);
    main.append(section);
  }
  main.append(el("p", { class: "note", id: "none", hidden: true }, "Nothing fits."));
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const section of document.querySelectorAll("main section")) {
    let here = 0;
    for (const details of section.querySelectorAll("details.operation")) {
      const fits = words.every((word) => details.words.includes(word));
      details.hidden = !fits;
      here += fits ? 1 : 0;
    }
    section.hidden = !here;
    section.link.hidden = !here;
    section.count.textContent = String(here);
    found += here;
  }
  document.getElementById("none").hidden = found > 0;
}

function openNamed() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.matches("details.operation")) {
    target.open = true;
    target.scrollIntoView();
  }
}

function theme(name) {
  document.documentElement.dataset.theme = name;
}

function stored(name) {
  try {
    return name ? localStorage.setItem("theme", name) : localStorage.getItem("theme");
  } catch {
    return null; // Storage is switched off: the choice lasts as long as the page.
  }
}

async function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(stored() || (dark.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    theme(next);
    stored(next);
  });
  const main = document.getElementById("operations");
  try {
    const answer = await fetch("/api/openapi.json");
    if (!answer.ok) throw new Error(`The host answered ${answer.status}.`);
    whole = await answer.json();
  } catch (error) {
    main.replaceChildren(el("p", { class: "note" }, `The description could not be loaded. ${error.message}`));
    return;
  }
  const { title, version } = whole.info || {};
  document.title = `${title} API`;
  document.getElementById("title").textContent = `${title} API`;
  document.getElementById("version").textContent = version;
  show(main, document.getElementById("tags"));
  const search = document.getElementById("search");
  search.addEventListener("input", () => filter(search.value));
  document.addEventListener("toggle", (event) => {
    if (event.target.open && event.target.matches("details.operation")) history.replaceState(null, "", `#${event.target.id}`);
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    }
  });
  addEventListener("hashchange", openNamed);
  openNamed();
}

start();
