// The guest's side: a form, and then a chat.

class Guest {
  #key = "shema-chat-guest";
  #state; // Kept: name, email, session, token, names, unsent, readTo.
  #talk = null;
  #line;
  #thread = new Thread(byId("guest-log"));
  #draw = together(() => this.#paint());
  #typing = new Typing(this.#draw);
  #marked = 0;
  #head = 0; // Up to there the messages are older than the connection.

  constructor() {
    this.#state = kept.read(this.#key) ?? {};
    this.#line = new Line({
      credential: async () => ({
        session_id: this.#state.session.id,
        session_token: this.#state.token,
        after_seq: this.#talk.seq,
      }),
      connected: (data) => this.#connected(data),
      frame: (type, data, id) => this.#hear(type, data, id),
      lost: () => this.#talk.lost(),
      ended: (code) => this.#ended(code),
      changed: this.#draw,
    });
    byId("guest-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    byId("guest-again").addEventListener("click", () => this.#leave());
    document.addEventListener("visibilitychange", this.#draw);
    compose(byId("guest-composer"), {
      send: (text) => this.#talk.say(text),
      typing: () => this.#line.send("typing", {}),
    });
    if (this.#state.session) this.#enter();
    this.#paint();
  }

  /** The view has come to the front. */
  shown() {
    this.#draw();
  }

  async #start() {
    const [name, email, question] = ["guest-name", "guest-email", "guest-question"].map((id) => byId(id).value.trim());
    const button = byId("guest-start");
    button.disabled = true;
    write(byId("guest-error"), "");
    try {
      const body = { guest_name: name, guest_email: email, initial_message: question || null };
      const { session, session_token: token } = await ask("POST", "/api/cs/sessions", { body });
      this.#state = { name, email, session, token, names: {} };
      byId("guest-question").value = "";
      this.#enter();
      byId("guest-composer").querySelector("textarea").focus();
    } catch (error) {
      write(byId("guest-error"), error.message);
    }
    button.disabled = false;
    this.#paint();
  }

  #enter() {
    this.#marked = 0;
    this.#talk = new Talk({
      outbox: this.#state.unsent,
      send: ({ name, content }) => this.#line.send("send_message", { content, client_message_id: name }, name),
      changed: () => {
        this.#keep();
        this.#draw();
      },
    });
    // A closed one is read once more: it may end with something unread.
    this.#line.open();
    this.#keep();
  }

  /** Back to the form, which knows who it was. */
  #leave() {
    const { name, email } = this.#state;
    this.#line.close();
    this.#talk = null;
    this.#state = { name, email };
    this.#keep();
    this.#paint();
    byId("guest-question").focus();
  }

  #keep() {
    kept.write(this.#key, { ...this.#state, unsent: this.#talk?.unsent });
  }

  #connected({ session, seq, greeting, office_hours: hours }) {
    this.#state.session = session;
    this.#head = seq;
    const note = [greeting, hours && `We are here: ${hours}`].filter(Boolean).join("\n");
    write(byId("guest-note"), note);
    this.#marked = 0;
    this.#keep();
    this.#talk.pump();
  }

  #hear(type, data, id) {
    switch (type) {
      case "new_message":
        // Never seen so far; but then it is better to begin anew than to go on.
        if (!this.#talk.add(data, data.sender_type === "guest")) this.#line.restart();
        if (data.sender_type !== "guest") this.#typing.over();
        this.#meet(data);
        break;
      case "message_delivered":
        this.#talk.delivered(data.client_message_id, data.seq);
        break;
      case "session_assigned":
        this.#state.session.assigned_admin = data.admin;
        break;
      case "session_status_changed":
        this.#state.session.status = data.status;
        break;
      case "session_closed":
        this.#state.session.status = "closed";
        break;
      case "typing":
        this.#typing.seen();
        break;
      case "messages_read":
        this.#state.readTo = Math.max(this.#state.readTo ?? 0, data.seq);
        break;
      case "error":
        this.#talk.refused(id, data.code, data.message);
        break;
      default:
        // Another version of the host may say more.
    }
    this.#keep();
    this.#draw();
  }

  /** Whoever answers has the chat at that moment; the name is all that a guest is
   * told, and who has it later may be somebody else. */
  #meet({ sender_id: id, seq }) {
    const { names, session } = this.#state;
    if (id && seq > this.#head && session.assigned_admin) names[id] ??= session.assigned_admin.full_name;
  }

  #ended(code) {
    if (code === 4409) {
      this.#state.session.status = "closed";
      this.#talk.end("the chat is closed");
    } else {
      // The session is gone, or was never this guest's.
      say("This chat cannot be opened any more.", true);
      setTimeout(() => this.#leave());
    }
    return false;
  }

  #paint() {
    const isIn = this.#talk !== null;
    show(byId("guest-form"), !isIn);
    show(byId("guest-chat"), isIn);
    if (!isIn) {
      for (const field of ["name", "email"]) {
        const input = byId(`guest-${field}`);
        if (!input.value) input.value = this.#state[field] ?? "";
      }
      return;
    }
    const { session, names, readTo = 0 } = this.#state;
    const admin = session.assigned_admin?.full_name;
    const isClosed = session.status === "closed";
    write(byId("guest-with"), admin ?? "Customer service");
    paintAvatar(byId("guest-avatar"), admin ?? "Customer Service");
    show(byId("guest-state"), !isClosed);
    paintState(byId("guest-state"), this.#line);
    show(byId("guest-note"), byId("guest-note").textContent !== "");
    show(byId("guest-closed"), isClosed);
    show(byId("guest-composer"), !isClosed);
    write(byId("guest-typing"), this.#typing.isOn && !isClosed ? `${admin ?? "Somebody"} is typing…` : "");
    this.#thread.draw({
      talk: this.#talk,
      isOwn: (message) => message.sender_type === "guest",
      author: (message) => (message.sender_type === "admin" ? (names[message.sender_id] ?? "Customer service") : ""),
      readTo,
    });
    this.#mark();
  }

  /** Says how far this guest has read, again after each connection: the host
   * tells it on and keeps nothing. */
  #mark() {
    const { seq } = this.#talk;
    if (document.hidden || byId("guest").hidden || seq <= this.#marked) return;
    if (this.#line.send("mark_read", { seq })) this.#marked = seq;
  }
}
