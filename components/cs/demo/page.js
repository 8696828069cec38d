// What all parts of the page use. Everything that people write is put in as
// text, never as markup.

const byId = (id) => document.getElementById(id);

/** An element with properties and children; a text becomes a text node. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Touches the page only where it changes: what stays is not read out again. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(element, wanted) {
  if (element.hidden === wanted) element.hidden = !wanted;
}

/** Makes `parent` hold exactly these elements, and moves no more than it must. */
function arrange(parent, elements) {
  elements.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  while (parent.children.length > elements.length) parent.lastElementChild.remove();
}

function say(text, bad = false) {
  const line = make("p", { className: bad ? "bad" : "" }, text);
  byId("said").append(line);
  setTimeout(() => line.remove(), bad ? 9000 : 4000);
}

/** Calls once for all calls that come before so many milliseconds are over. */
function later(delay, work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      work();
    }, delay());
  };
}

/** Calls once for many calls, a moment later. */
const together = (work) => later(() => 15, work);

/** At most one call in so many milliseconds; one too early comes later. */
function atMostEvery(time, work) {
  let last = -Infinity;
  const rest = () => Math.max(last + time - performance.now(), 0);
  return later(rest, () => {
    last = performance.now();
    work();
  });
}

// Kept for this tab alone: two tabs are two people, and a reload is the same one.
const kept = {
  read(key) {
    try {
      return JSON.parse(sessionStorage.getItem(key));
    } catch {
      return null;
    }
  },
  write(key, value) {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(value));
  },
};

// ------------------------------------------------------------------- requests

/** A request that was refused; without a code it was not answered at all. */
class Refused extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Resolves to the answer's `data`. `patience` in milliseconds. */
async function ask(method, path, { body, token, patience = 15000 } = {}) {
  const headers = {};
  if (body) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    const signal = AbortSignal.timeout(patience);
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
  } catch {
    throw new Refused("The host cannot be reached. Please try again.");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer.data;
  const problem = answer?.error?.details?.[0];
  const about = problem?.field ? `${problem.field.replace("guest_", "")} ${problem.message}` : answer?.message;
  throw new Refused(about ?? `The host answers ${response.status}.`, response.status, answer?.error?.code);
}

// --------------------------------------------------------------- words and time

const clock = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const shortDate = new Intl.DateTimeFormat([], { day: "numeric", month: "short" });
const dayOf = (time) => new Date(time).toDateString();
const isToday = (time) => dayOf(time) === dayOf(Date.now());

const timeOfDay = (time) => clock.format(new Date(time));
const dayInWords = (time) => (isToday(time) ? "Today" : calendar.format(new Date(time)));
const briefly = (time) => (isToday(time) ? timeOfDay(time) : shortDate.format(new Date(time)));

/** The first letters of a name, on a colour that goes with the name. */
function paintAvatar(element, name) {
  const words = name.trim().split(/\s+/);
  const letters = [words[0], words.length > 1 ? words.at(-1) : ""].map((word) => [...word][0] ?? "").join("");
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 997;
  write(element, letters.toUpperCase());
  element.className = `avatar tint-${sum % 6}`;
}

// ------------------------------------------------------------------- composing

/** A text field that sends with Enter and grows with what is written. */
function compose(form, { send, typing }) {
  const field = form.querySelector("textarea");
  // The host tells the other side no more often than every two seconds.
  const tell = atMostEvery(2500, () => field.value.trim() && typing());
  const grow = () => {
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight + 2, 140)}px`;
  };
  field.addEventListener("input", () => {
    grow();
    tell();
  });
  field.addEventListener("keydown", (event) => {
    // Not while a syllable is still being put together.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text) return;
    field.value = "";
    grow();
    send(text);
    field.focus();
  });
}
