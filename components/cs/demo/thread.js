// Shows the messages of a session, one element for each as long as it is there.

const TYPING_MS = 5000; // From one sign of it.
const RUN_MS = 180000; // Messages of one person in such a time stand together.
const NEAR_END = 80; // Pixels: whoever reads there wants to see what comes.

const MARKS = { waiting: "Waiting", sent: "Sent", delivered: "Delivered", read: "Read", failed: "Not sent" };
const TICKS = { waiting: "◌", sent: "✓", delivered: "✓✓", read: "✓✓", failed: "!" };

class Thread {
  #list;
  #elements = new Map();
  #shown = null; // The talk.

  constructor(list) {
    this.#list = list;
  }

  /**
   * `talk`; `isOwn(message)`; `author(message)`: a name, or "" for none;
   * `readTo`: the number of the last message that the other side has read.
   */
  draw({ talk, isOwn, author, readTo }) {
    const scroll = this.#list.parentElement;
    const isOther = talk !== this.#shown;
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END;
    const firstSeq = () => this.#list.querySelector(".message")?.dataset.seq;
    const [firstBefore, heightBefore] = [firstSeq(), scroll.scrollHeight];
    if (isOther) this.#elements.clear();
    this.#shown = talk;

    const items = [];
    let day = "";
    const put = (item) => {
      const today = dayOf(item.at);
      if (today !== day) items.push({ key: `day ${today}`, day: dayInWords(item.at) });
      day = today;
      items.push(item);
    };
    for (const message of talk.messages) {
      const own = isOwn(message);
      const state = own ? (message.seq <= readTo ? "read" : "delivered") : "";
      const kind = message.sender_type === "system" ? "system" : own ? "own" : "other";
      const { seq, content, created_at: at } = message;
      put({ key: message.name ?? `seq ${seq}`, kind, seq, content, author: author(message), at, state });
    }
    for (const entry of talk.outbox.filter((entry) => !entry.twin)) {
      const { name: key, content, at, reason } = entry;
      put({ key, kind: "own", content, author: "", at, state: entry.state === "stored" ? "delivered" : entry.state, reason });
    }
    const ownNew = items.at(-1)?.kind === "own" && !this.#elements.has(items.at(-1).key);
    arrange(this.#list, items.map((item, index) => this.#element(item, items[index - 1], items[index + 1])));
    for (const key of this.#elements.keys()) if (!items.some((item) => item.key === key)) this.#elements.delete(key);

    if (isOther || atEnd || ownNew) scroll.scrollTop = scroll.scrollHeight;
    // Older ones came in above: what is being read stays where it is.
    else if (firstSeq() !== firstBefore) scroll.scrollTop += scroll.scrollHeight - heightBefore;
  }

  #element(item, before, after) {
    const known = this.#elements.get(item.key);
    const element = known ?? (item.day ? make("li", { className: "day" }, item.day) : this.#message(item));
    if (!known) this.#elements.set(item.key, element);
    if (item.day) return element;
    const together = (one, other) => one?.kind === other?.kind && one.author === other.author
      && new Date(other.at) - new Date(one.at) < RUN_MS;
    const begins = !together(before, item);
    const ends = !together(item, after);
    // One mark stands for all that have it.
    const marked = item.state && (ends || after.state !== item.state);
    element.className = `message ${item.kind} ${item.state} ${begins ? "begins" : ""} ${ends || marked ? "ends" : ""}`;
    if (item.seq) element.dataset.seq = item.seq;
    const [author, , meta] = element.children;
    write(author, begins ? item.author : "");
    show(author, begins && item.author !== "");
    show(meta, Boolean(item.kind !== "system" && (ends || marked)));
    const [time, tick, mark] = meta.children;
    write(time, timeOfDay(item.at));
    write(tick, marked ? TICKS[item.state] : "");
    write(mark, marked ? MARKS[item.state] + (item.reason ? `: ${item.reason}` : "") : "");
    this.#remedies(element, item);
    return element;
  }

  #message({ content }) {
    return make("li", {},
      make("span", { className: "author" }),
      make("p", { className: "bubble" }, content),
      make("span", { className: "meta" },
        make("time"),
        Object.assign(make("span", { className: "tick" }), { ariaHidden: "true" }),
        make("span", { className: "mark" })));
  }

  /** What can be done about a message that was refused. */
  #remedies(element, { key, state }) {
    const shown = element.querySelector(".remedies");
    if (state !== "failed") return shown?.remove();
    if (shown) return undefined;
    const talk = this.#shown;
    const button = (text, act) => {
      const made = make("button", { type: "button" }, text);
      made.addEventListener("click", act);
      return made;
    };
    return element.append(make("span", { className: "remedies" },
      button("Try again", () => talk.retry(key)), button("Discard", () => talk.discard(key))));
  }
}

/** That the other side types, until it has not for a while. */
class Typing {
  #until = 0;
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  get isOn() {
    return performance.now() < this.#until;
  }

  seen() {
    this.#until = performance.now() + TYPING_MS;
    setTimeout(this.#changed, TYPING_MS + 20);
    this.#changed();
  }

  over() {
    this.#until = 0;
  }
}
