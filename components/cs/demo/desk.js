// The admins' side: a list of all chats, and the one that is open.

const LISTED = 50; // Chats that are asked for at first.
const RECENT = 30; // Messages of each.
const EARLIER = 50; // More of them at a time.

/** One session as the desk knows it. */
class Chat {
  isOnline = false;
  readTo = 0; // By this admin.
  seenTo = 0; // By the guest.
  marked = 0;
  draft = ""; // What the admin has begun to write.

  constructor(session, talk, typing) {
    Object.assign(this, { session, talk, typing });
  }

  get isOpen() {
    return this.session.status === "open";
  }

  get changedAt() {
    return Date.parse(this.talk.last?.created_at ?? this.session.last_message_at ?? this.session.created_at);
  }

  /** What the guest has said since this admin looked, or since anybody answered. */
  get unread() {
    const answered = this.talk.messages.findLast(({ sender_type: type }) => type === "admin")?.seq ?? 0;
    const from = Math.max(this.readTo, answered);
    return this.talk.messages.filter(({ sender_type: type, seq }) => type === "guest" && seq > from).length;
  }
}

class Desk {
  #key = "shema-chat-desk";
  #kept; // By session: read, seen, unsent; and which is open.
  #account = new Account(() => this.#out());
  #chats = new Map();
  #names = new Map(); // Of admins, by id, as far as chats tell them.
  #isLoaded = false;
  #used = ""; // The token of this connection.
  #line;
  #thread = new Thread(byId("desk-log"));
  #rows = new Map();
  #draw = together(() => this.#paint());

  constructor() {
    this.#kept = kept.read(this.#key) ?? {};
    this.#line = new Line({
      credential: () => this.#credential(),
      connected: (data) => this.#connected(data),
      frame: (type, data, id) => this.#hear(type, data, id),
      lost: () => this.#chats.forEach(({ talk }) => talk.lost()),
      ended: (code) => this.#ended(code),
      changed: this.#draw,
    });
    byId("desk-login").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#login();
    });
    const on = (id, act) => byId(id).addEventListener("click", act);
    on("desk-leave", () => this.#account.logout());
    on("desk-back", () => this.#choose(null));
    on("desk-take", () => this.#assign());
    on("desk-close", () => this.#close());
    on("desk-reopen", () => this.#change("PATCH", "/status", { status: "open" }));
    on("desk-earlier", () => this.#earlier());
    document.addEventListener("visibilitychange", this.#draw);
    compose(byId("desk-composer"), {
      send: (text) => this.#open?.talk.say(text),
      typing: () => this.#open && this.#line.send("typing", { session_id: this.#open.session.id }),
    });
    if (this.#me) this.#line.open();
    this.#paint();
  }

  shown() {
    this.#draw();
  }

  get #me() {
    return this.#account.user;
  }

  /** The chat that is open. */
  get #open() {
    return this.#chats.get(this.#kept.open) ?? null;
  }

  // ------------------------------------------------------------ coming and going

  async #login() {
    const button = byId("desk-enter");
    button.disabled = true;
    write(byId("desk-error"), "");
    try {
      await this.#account.login(byId("desk-email").value.trim(), byId("desk-password").value);
      byId("desk-password").value = "";
      this.#line.open();
    } catch (error) {
      write(byId("desk-error"), error.message);
    }
    button.disabled = false;
    this.#paint();
  }

  #out() {
    this.#line.close();
    this.#chats.clear();
    this.#isLoaded = false;
    this.#kept = {};
    kept.write(this.#key, null);
    this.#paint();
  }

  async #credential() {
    const token = await this.#account.token();
    if (!this.#isLoaded) await this.#load();
    this.#used = token;
    return { token, after: Object.fromEntries([...this.#chats].map(([id, { talk }]) => [id, talk.seq])) };
  }

  /** The latest chats. Their messages come over the connection, from where it is
   * told to begin: the last of each is enough at first. */
  async #load() {
    const { sessions } = await this.#account.ask("GET", `/api/cs/admin/sessions?limit=${LISTED}`);
    for (const session of sessions) this.#add(session, Math.max(session.message_count - RECENT, 0));
    this.#isLoaded = true;
  }

  #ended(code) {
    if (code !== 4401) {
      say("This account may not work at the desk.", true);
      setTimeout(() => this.#account.logout());
      return false;
    }
    // Its time was up, as each token's is, or the login has ended: the next try
    // begins with asking for a new one.
    this.#account.refuse(this.#used);
    return true;
  }

  // ------------------------------------------------------------------ the chats

  #add(session, seq) {
    const { id } = session;
    const talk = new Talk({
      seq,
      outbox: this.#kept.unsent?.[id],
      send: ({ name, content }) =>
        this.#line.send("send_message", { session_id: id, content, client_message_id: name }, name),
      changed: () => this.#changed(),
    });
    const chat = new Chat(session, talk, new Typing(this.#draw));
    chat.readTo = this.#kept.read?.[id] ?? 0;
    chat.seenTo = this.#kept.seen?.[id] ?? 0;
    this.#chats.set(id, chat);
    this.#meet(session.assigned_admin);
    return chat;
  }

  #changed() {
    const all = [...this.#chats];
    const unsent = all.filter(([, { talk }]) => talk.outbox.length).map(([id, { talk }]) => [id, talk.unsent]);
    this.#kept.unsent = Object.fromEntries(unsent);
    this.#kept.read = Object.fromEntries(all.map(([id, { readTo }]) => [id, readTo]));
    this.#kept.seen = Object.fromEntries(all.map(([id, { seenTo }]) => [id, seenTo]));
    if (this.#me) kept.write(this.#key, this.#kept);
    this.#draw();
  }

  /** A session that something is heard of: it was closed when this desk began, and
   * is known by its id alone until it is asked for. */
  #known(id, seq) {
    const known = this.#chats.get(id);
    if (known) return known;
    const time = new Date().toISOString();
    const chat = this.#add({ id, guest_name: "A guest", guest_email: "", status: "open", created_at: time }, seq);
    const ask = this.#account.ask("GET", `/api/cs/admin/sessions/${id}`);
    ask.then(({ session }) => Object.assign(chat.session, session)).then(this.#draw, () => undefined);
    return chat;
  }

  #connected({ sessions }) {
    for (const session of sessions) {
      const chat = this.#chats.get(session.id) ?? this.#add(session, 0);
      chat.session = session;
      chat.marked = 0;
      this.#meet(session.assigned_admin);
    }
    this.#line.send("watch_presence", {});
    for (const { talk } of this.#chats.values()) talk.pump();
  }

  #hear(type, data, id) {
    const chat = data.session_id ? this.#known(data.session_id, (data.seq ?? 1) - 1) : null;
    switch (type) {
      case "new_message":
        if (!chat.talk.add(data, data.sender_id === this.#me?.id)) this.#line.restart();
        if (data.sender_type === "guest") chat.typing.over();
        break;
      case "message_delivered":
        this.#talkOf(data.client_message_id)?.delivered(data.client_message_id, data.seq);
        break;
      case "session_created":
        if (!this.#chats.has(data.session.id)) this.#add(data.session, 0);
        break;
      case "session_assigned":
        chat.session.assigned_admin = data.admin;
        this.#meet(data.admin);
        break;
      case "session_status_changed":
        Object.assign(chat.session, { status: data.status, assigned_admin: null });
        break;
      case "session_closed":
        chat.talk.end("the chat is closed");
        break;
      case "typing":
        chat.typing.seen();
        break;
      case "messages_read":
        chat.seenTo = Math.max(chat.seenTo, data.seq);
        break;
      case "online_guests":
        for (const [id, chat] of this.#chats) chat.isOnline = data.session_ids.includes(id);
        break;
      case "presence":
        chat.isOnline = data.online;
        // One who comes does not know how far this admin had read.
        if (data.online) chat.marked = 0;
        break;
      case "error":
        if (id) this.#talkOf(id)?.refused(id, data.code, data.message);
        else for (const { talk } of this.#chats.values()) talk.refused(undefined, data.code, data.message);
        break;
      default:
        // Another version of the host may say more.
    }
    this.#changed();
  }

  #meet(admin) {
    if (admin) this.#names.set(admin.id, admin.full_name);
  }

  /** Whose outbox has a message of this name. */
  #talkOf(name) {
    return [...this.#chats.values()].find(({ talk }) => talk.outbox.some((entry) => entry.name === name))?.talk;
  }

  // ----------------------------------------------------------------- what is done

  #choose(id) {
    // What was begun here is not to be sent there.
    const field = byId("desk-text");
    if (this.#open) this.#open.draft = field.value;
    this.#kept.open = id;
    field.value = this.#open?.draft ?? "";
    this.#changed();
    this.#paint();
    if (id && matchMedia("(min-width: 761px)").matches) field.focus();
    else if (id) byId("desk-back").focus();
  }

  /** Changes the open chat; what has become of it comes over the connection, too. */
  async #change(method, path, body) {
    const chat = this.#open;
    if (!chat) return;
    try {
      const { session } = await this.#account.ask(method, `/api/cs/admin/sessions/${chat.session.id}${path}`, body);
      chat.session = session;
    } catch (error) {
      say(error.message, true);
    }
    this.#draw();
  }

  /** Takes a chat that nobody has, or takes it over from whoever has it. */
  #assign() {
    const isTaken = Boolean(this.#open?.session.assigned_admin);
    return this.#change("POST", "/assign", isTaken ? { admin_id: this.#me.id } : {});
  }

  #close() {
    const dialog = byId("ask-close");
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "yes") this.#change("PATCH", "/status", { status: "closed" });
    }, { once: true });
  }

  async #earlier() {
    const { session, talk } = this.#open;
    const [before] = talk.messages;
    const cursor = before ? `&before=${before.id}` : "";
    try {
      const path = `/api/cs/sessions/${session.id}/messages?limit=${EARLIER}${cursor}`;
      talk.addEarlier((await this.#account.ask("GET", path)).messages);
    } catch (error) {
      say(error.message, true);
    }
  }

  // -------------------------------------------------------------------- drawing

  #paint() {
    const isIn = this.#me !== null;
    show(byId("desk-login"), !isIn);
    show(byId("desk-room"), isIn);
    const open = isIn ? [...this.#chats.values()].filter((chat) => chat.isOpen) : [];
    const unread = open.reduce((sum, chat) => sum + chat.unread, 0);
    document.title = `${unread ? `(${unread}) ` : ""}Chat demo · Shema`;
    if (!isIn) return;
    paintState(byId("desk-state"), this.#line);
    write(byId("desk-name"), this.#me.full_name);
    this.#look();
    const chats = [...this.#chats.values()].sort((one, other) =>
      Number(other.isOpen) - Number(one.isOpen) || other.changedAt - one.changedAt);
    arrange(byId("desk-list"), chats.map((chat) => this.#row(chat)));
    show(byId("desk-none"), this.#isLoaded && chats.length === 0);
    byId("desk-room").classList.toggle("is-open", this.#open !== null);
    show(byId("desk-empty"), this.#open === null);
    show(byId("desk-chat"), this.#open !== null);
    if (this.#open) this.#paintChat(this.#open);
  }

  /** What is in front of the admin's eyes has been read. */
  #look() {
    const chat = this.#open;
    if (!chat || document.hidden || byId("desk").hidden) return;
    const { talk, session } = chat;
    if (talk.seq > chat.readTo) {
      chat.readTo = talk.seq;
      this.#changed();
    }
    if (talk.seq <= chat.marked || !chat.isOpen) return;
    if (this.#line.send("mark_read", { session_id: session.id, seq: talk.seq })) chat.marked = talk.seq;
  }

  #row(chat) {
    const { session, talk } = chat;
    let row = this.#rows.get(session.id);
    if (!row) {
      const face = make("span", { className: "face" }, make("span"), make("span", { className: "dot" }));
      const button = make("button", { type: "button" }, face,
        make("span", { className: "name" }), make("time"),
        make("span", { className: "line" }, make("span", { className: "preview" }), make("span", { className: "badge" })));
      button.addEventListener("click", () => this.#choose(session.id));
      row = make("li", {}, button);
      row.dataset.session = session.id;
      this.#rows.set(session.id, row);
    }
    const [face, name, time, line] = row.firstChild.children;
    const [avatar, dot] = face.children;
    const [preview, badge] = line.children;
    const isOnline = chat.isOnline && chat.isOpen;
    paintAvatar(avatar, session.guest_name);
    avatar.ariaHidden = "true";
    dot.className = `dot ${isOnline ? "on" : ""}`;
    write(dot, isOnline ? "online" : "");
    write(name, session.guest_name);
    write(time, briefly(chat.changedAt));
    const { last } = talk;
    const by = last?.sender_type !== "admin" ? "" : last.sender_id === this.#me.id ? "You: " : "Desk: ";
    const isTyping = chat.typing.isOn && chat.isOpen;
    write(preview, isTyping ? "is typing…" : last ? by + last.content : "Nothing said yet");
    preview.classList.toggle("typing", isTyping);
    const unread = chat.isOpen ? chat.unread : 0;
    write(badge, unread ? `${Math.min(unread, 99)}` : "");
    badge.ariaLabel = unread ? `${unread} unread` : null;
    show(badge, unread > 0);
    row.className = `${chat.isOpen ? "" : "closed"} ${unread ? "unread" : ""}`;
    row.firstChild.ariaCurrent = chat === this.#open ? "true" : null;
    return row;
  }

  #paintChat(chat) {
    const { session, talk } = chat;
    const admin = session.assigned_admin;
    const isMine = admin?.id === this.#me.id;
    const isOnline = chat.isOnline && chat.isOpen;
    paintAvatar(byId("desk-avatar"), session.guest_name);
    write(byId("desk-with"), session.guest_name);
    const about = [session.guest_email, chat.isOpen ? (isOnline ? "online" : "away") : "closed"];
    write(byId("desk-about"), about.filter(Boolean).join(" · "));
    const holder = !admin ? "Nobody has this chat yet." : `${isMine ? "You have" : `${admin.full_name} has`} this chat.`;
    write(byId("desk-holder"), chat.isOpen ? holder : "This chat is closed.");
    write(byId("desk-take"), admin ? "Take over" : "Take it");
    show(byId("desk-take"), chat.isOpen && !isMine);
    show(byId("desk-close"), chat.isOpen);
    show(byId("desk-reopen"), !chat.isOpen);
    show(byId("desk-composer"), chat.isOpen && (!admin || isMine));
    show(byId("desk-earlier"), talk.first > 1);
    write(byId("desk-typing"), chat.typing.isOn && chat.isOpen ? `${session.guest_name} is typing…` : "");
    const isByOther = ({ sender_type: type, sender_id: id }) => type === "admin" && id !== this.#me.id;
    this.#thread.draw({
      talk,
      isOwn: (message) => message.sender_type === "admin",
      author: (message) => (isByOther(message) ? (this.#names.get(message.sender_id) ?? "Another admin") : ""),
      readTo: chat.seenTo,
    });
  }
}
