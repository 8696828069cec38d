// Who is at the desk: login, and an access token that is always fresh.

// If the answer gets lost, the same token is good for ten seconds more: time for
// another try.
const REFRESH_MS = 4000;
const RETRY_MS = 3000;

class Account {
  #key = "shema-chat-account";
  #tokens; // Kept: access, refresh, from and until (milliseconds of this clock), user.
  #running = null;
  #timer = 0;
  #gone;

  /** `gone()`: the login has ended. */
  constructor(gone) {
    this.#gone = gone;
    this.#tokens = kept.read(this.#key);
    this.#plan();
  }

  get user() {
    return this.#tokens?.user ?? null;
  }

  async login(email, password) {
    const answer = await ask("POST", "/api/auth/login", { body: { email, password } });
    if (answer.user.role !== "admin") throw new Refused("Only admins work at the desk.");
    this.#take(answer, answer.user);
  }

  async logout() {
    const token = this.#tokens?.access;
    this.#forget();
    // The login ends here whether or not the host hears of it.
    if (token) await ask("POST", "/api/auth/logout", { token }).catch(() => undefined);
  }

  /** An access token that is good for a while. */
  async token() {
    if (!this.#tokens) throw new Refused("Nobody is logged in.");
    if (Date.now() > this.#tokens.until - this.#margin) await this.#refresh();
    return this.#tokens.access;
  }

  /** The host does not take this one any more, whatever its time. */
  refuse(token) {
    if (this.#tokens?.access === token) this.#tokens.until = 0;
  }

  async ask(method, path, body) {
    const token = await this.token();
    try {
      return await ask(method, path, { body, token });
    } catch (error) {
      if (error.status !== 401) throw error;
      this.refuse(token);
      return ask(method, path, { body, token: await this.token() });
    }
  }

  get #margin() {
    return Math.min(60000, (this.#tokens.until - this.#tokens.from) / 3);
  }

  /** One at a time: a refresh token is good for one. */
  #refresh() {
    this.#running ??= this.#exchange().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #exchange() {
    const { refresh, user } = this.#tokens;
    try {
      const options = { body: { refreshToken: refresh }, patience: REFRESH_MS };
      this.#take(await ask("POST", "/api/auth/refresh", options), user);
    } catch (error) {
      // Only a clear no ends the login; without an answer there is another try.
      if (error.status === 401) this.#forget();
      throw error;
    }
  }

  #take({ accessToken, refreshToken }, user) {
    // The lifetime is taken from the token and measured by this clock, which need
    // not be the host's.
    const { iat, exp } = JSON.parse(atob(accessToken.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    const from = Date.now();
    this.#tokens = { access: accessToken, refresh: refreshToken, from, until: from + (exp - iat) * 1000, user };
    kept.write(this.#key, this.#tokens);
    this.#plan();
  }

  /** Refreshes before the end, so that nobody has to wait for it. */
  #plan() {
    clearTimeout(this.#timer);
    if (!this.#tokens) return;
    const time = Math.max(this.#tokens.until - this.#margin - Date.now(), RETRY_MS);
    this.#timer = setTimeout(() => this.#refresh().catch(() => this.#plan()), Math.min(time, 2 ** 31 - 1));
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#tokens = null;
    kept.write(this.#key, null);
    this.#gone();
  }
}
