// The connection. It comes back by itself whenever it was lost, and notices
// within seconds that nobody is at the other end: a socket over a dead network
// says nothing for minutes.

const CONNECT_MS = 8000; // For the first answer.
const PING_MS = 3000; // Of silence, until the other end is asked.
const PONG_MS = 4000; // For its answer.
const STEADY_MS = 5000; // A connection that held so long was a good one.
const MAX_WAIT_MS = 15000;
// Close codes after which the same would only happen again: malformed, not
// authenticated, forbidden, unknown session, session closed.
const FINAL = new Set([4400, 4401, 4403, 4404, 4409]);
const TOO_MANY = 4429;
const TOO_MANY_WAIT_MS = 10000;

class Line {
  #side;
  #socket = null;
  #wanted = false;
  #dialing = false;
  #connectedAt = 0; // 0: not connected.
  #hadOne = false;
  #attempts = 0;
  #retry = 0;
  #next = 0;
  #deadline = 0;

  /**
   * `side` has: `credential()`, which resolves to the data of the first frame;
   * `connected(data)`; `frame(type, data, id)`; `lost()`; `changed()`, when the
   * state is another; and `ended(code)` for a final close code, which says
   * whether to try again all the same.
   */
  constructor(side) {
    this.#side = side;
    addEventListener("online", () => this.nudge());
    addEventListener("offline", () => this.nudge());
    document.addEventListener("visibilitychange", () => document.hidden || this.nudge());
  }

  get isConnected() {
    return this.#connectedAt > 0;
  }

  /** In words, and whether that is good. */
  get state() {
    if (this.isConnected) return { word: "Connected", tone: "good" };
    if (!this.#wanted) return { word: "Not connected", tone: "" };
    if (!navigator.onLine) return { word: "Offline", tone: "bad" };
    return { word: this.#hadOne ? "Reconnecting…" : "Connecting…", tone: "warn" };
  }

  open() {
    this.#wanted = true;
    this.#attempts = 0;
    this.#hadOne = false;
    this.#dial();
  }

  close() {
    this.#wanted = false;
    clearTimeout(this.#retry);
    this.#drop();
    this.#side.changed();
  }

  /** Something has changed outside: a good moment to look at once. */
  nudge() {
    if (this.isConnected) this.#check();
    else if (this.#wanted && !this.#socket) {
      this.#attempts = 0;
      this.#dial();
    }
    this.#side.changed();
  }

  /** Starts anew, for instance because something is missing. */
  restart() {
    if (this.#socket) this.#lose(this.#socket);
  }

  /** False: it is not connected. */
  send(type, data, id) {
    if (!this.isConnected || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(id === undefined ? { type, data } : { type, data, id }));
    return true;
  }

  async #dial() {
    clearTimeout(this.#retry);
    if (!this.#wanted || this.#socket || this.#dialing) return;
    this.#dialing = true;
    this.#side.changed();
    let credential = null;
    try {
      credential = await this.#side.credential();
    } catch {
      // Whatever it needs for it cannot be had now.
    }
    this.#dialing = false;
    if (!this.#wanted) return;
    if (!credential) return this.#later();
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/api/cs/ws`);
    this.#socket = socket;
    this.#deadline = setTimeout(() => this.#lose(socket), CONNECT_MS);
    socket.onopen = () => socket.send(JSON.stringify({ type: "auth", data: credential }));
    socket.onmessage = ({ data }) => this.#hear(socket, JSON.parse(data));
    socket.onclose = ({ code }) => this.#lose(socket, code);
  }

  #hear(socket, { type, data, id }) {
    if (socket !== this.#socket) return;
    // Whatever is heard, somebody is there.
    this.#rest();
    if (type === "pong") return;
    if (type !== "connected") return this.#side.frame(type, data, id);
    this.#connectedAt = performance.now();
    this.#hadOne = true;
    this.#rest();
    this.#side.connected(data);
    this.#side.changed();
  }

  #rest() {
    if (!this.isConnected) return;
    clearTimeout(this.#deadline);
    clearTimeout(this.#next);
    this.#deadline = 0;
    this.#next = setTimeout(() => this.#check(), PING_MS);
  }

  #check() {
    if (this.#deadline) return;
    const socket = this.#socket;
    this.send("ping", {});
    this.#deadline = setTimeout(() => this.#lose(socket), PONG_MS);
  }

  #drop() {
    clearTimeout(this.#deadline);
    clearTimeout(this.#next);
    this.#deadline = 0;
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    this.#connectedAt = 0;
    // What it says from now on is said again to the next one.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#side.lost();
  }

  #lose(socket, code) {
    if (socket !== this.#socket) return;
    const held = this.isConnected && performance.now() - this.#connectedAt > STEADY_MS;
    this.#attempts = held ? 0 : this.#attempts + 1;
    this.#drop();
    if (FINAL.has(code) && !this.#side.ended(code)) this.#wanted = false;
    this.#later(code);
  }

  /** Ever later, and not all clients at the same moment. */
  #later(code) {
    this.#side.changed();
    if (!this.#wanted) return;
    const longest = this.#attempts === 0 ? 400 : Math.min(500 * 2 ** this.#attempts, MAX_WAIT_MS);
    const least = code === TOO_MANY ? TOO_MANY_WAIT_MS : longest / 2;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#dial(), least + Math.random() * (longest / 2));
  }
}

/** A connection's state on the page. */
function paintState(element, line) {
  const { word, tone } = line.state;
  write(element, word);
  element.className = `state ${tone}`;
}
