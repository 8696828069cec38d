// The messages of one session: those that the host has numbered, in their order,
// and those that it has not acknowledged yet.

const ACKNOWLEDGE_MS = 10000;
const AGAIN_MS = 2000;
// Refusals that are about the moment and not about the message.
const FOR_NOW = new Map([
  ["RATE_LIMIT_EXCEEDED", 6000],
  ["SERVICE_UNAVAILABLE", AGAIN_MS],
  ["DB_CONNECTION_ERROR", AGAIN_MS],
  ["DB_QUERY_ERROR", AGAIN_MS],
  ["REQUEST_TIMEOUT", AGAIN_MS],
  ["INTERNAL_SERVER_ERROR", AGAIN_MS],
]);

class Talk {
  /** In order, numbered without holes: from `first` to `seq`. */
  messages = [];
  /** Own ones that wait: `{ name, content, at, state, seq?, twin?, reason? }`. */
  outbox = [];
  #send;
  #changed;
  #patience = 0;

  /**
   * `seq`: the number before the first message. `send(entry)`: puts a message on
   * the wire, and says whether there is one. `changed()`: something has changed.
   */
  constructor({ seq = 0, outbox = [], send, changed }) {
    this.seq = seq;
    this.outbox = outbox.map((entry) => (entry.state === "sent" ? { ...entry, state: "waiting" } : entry));
    this.#send = send;
    this.#changed = changed;
  }

  get first() {
    return this.messages[0]?.seq ?? this.seq + 1;
  }

  get last() {
    return this.messages.at(-1);
  }

  /** What of the outbox outlives a reload. */
  get unsent() {
    return this.outbox.map(({ name, content, at, state, seq, reason }) => ({ name, content, at, state, seq, reason }));
  }

  /** A message as it comes. False if one before it is missing. */
  add(message, isOwn) {
    if (message.seq <= this.seq) return true;
    if (message.seq > this.seq + 1) return false;
    this.seq = message.seq;
    this.messages.push(message);
    const stored = this.outbox.find((entry) => entry.seq === message.seq);
    // It may come before its acknowledgement, and is not to be seen twice until
    // then. Only one is on its way at a time, so that is the one, unless another
    // tab of the same person says the same, which the acknowledgement settles.
    const isLikely = ({ state, twin, content }) => state === "sent" && !twin && content === message.content;
    const likely = isOwn && this.outbox.find(isLikely);
    if (stored) this.#settle(stored, message);
    else if (likely) {
      likely.twin = message;
      message.name = likely.name;
    }
    this.#changed();
    return true;
  }

  /** Older messages, which end where these begin. */
  addEarlier(messages) {
    this.messages = [...messages.filter((message) => message.seq < this.first), ...this.messages];
    this.#changed();
  }

  // ------------------------------------------------------------- own messages

  say(content) {
    this.outbox.push({ name: crypto.randomUUID(), content, at: Date.now(), state: "waiting" });
    this.pump();
    this.#changed();
  }

  /**
   * Puts the next message on the wire. One at a time: what is refused for now
   * and sent again would else come after what was written later. The host knows
   * a message that is sent twice by its name.
   */
  pump() {
    const open = this.outbox.find(({ state }) => state === "waiting" || state === "sent");
    if (!open || open.state === "sent" || !this.#send(open)) return;
    open.state = "sent";
    this.#again(ACKNOWLEDGE_MS);
    this.#changed();
  }

  /** The wire is gone: nobody knows what has become of the last message. */
  lost() {
    clearTimeout(this.#patience);
    this.#back();
  }

  delivered(name, seq) {
    const entry = this.outbox.find((entry) => entry.name === name);
    if (!entry) return;
    clearTimeout(this.#patience);
    Object.assign(entry, { state: "stored", seq });
    if (entry.twin && entry.twin.seq !== seq) delete entry.twin.name;
    const message = this.messages.find((message) => message.seq === seq);
    if (message || seq <= this.seq) this.#settle(entry, message);
    this.pump();
    this.#changed();
  }

  /** `name`: of the message that is refused; undefined: of whichever it is. */
  refused(name, code, reason) {
    const isMeant = (entry) => entry.state === "sent" && (name === undefined || entry.name === name);
    const entry = this.outbox.find(isMeant);
    if (!entry) return;
    const wait = FOR_NOW.get(code);
    if (wait) return this.#again(wait);
    clearTimeout(this.#patience);
    Object.assign(entry, { state: "failed", reason });
    this.pump();
    this.#changed();
  }

  /** Nothing more is taken here. */
  end(reason) {
    clearTimeout(this.#patience);
    for (const entry of this.outbox) if (entry.state !== "stored") Object.assign(entry, { state: "failed", reason });
    this.#changed();
  }

  retry(name) {
    const entry = this.outbox.find((entry) => entry.name === name);
    if (entry) Object.assign(entry, { state: "waiting", reason: undefined });
    this.pump();
    this.#changed();
  }

  discard(name) {
    this.outbox = this.outbox.filter((entry) => entry.name !== name);
    this.#changed();
  }

  #settle(entry, message) {
    // The same element goes on showing it.
    if (message) message.name = entry.name;
    this.outbox = this.outbox.filter((other) => other !== entry);
  }

  #again(time) {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      this.#back();
      this.pump();
    }, time);
  }

  #back() {
    for (const entry of this.outbox) if (entry.state === "sent") entry.state = "waiting";
    this.#changed();
  }
}
