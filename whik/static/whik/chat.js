// One room. The database has all messages, and the socket brings them sooner: after each
// (re)connection the page fetches what it missed. The id of a message gives its place in the
// log, where it appears once. All texts are in the page; what arrives is shown as text.

const MAX_ITEMS = 500;
const OVERLAP = 10; // Messages fetched again: two may be sent in another order than their ids.
const TYPING_EVERY = 2000; // Milliseconds, as all below.
const TYPING_LASTS = 4000;
const ANSWER_WITHIN = 15000;
const FETCH_AGAIN = 2000;
const SAME_BREATH = 5 * 60 * 1000;

const root = document.querySelector("[data-chat]");
const words = root.dataset;
const me = words.me;
const part = (name, from = root) => from.querySelector(`[data-${name}]`);
const copy = (name) => part(`template=${name}`).content.firstElementChild.cloneNode(true);
const language = document.documentElement.lang;
const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const dayOf = (moment) => moment.toLocaleDateString(language, { dateStyle: "full" });

// The names of people, and who is here. A member's info was signed when they joined, so a
// name from the database is newer.
class People {
  constructor(onChoose) {
    this.names = new Map();
    this.present = new Set();
    this.onChoose = onChoose;
    for (const bdi of root.querySelectorAll("bdi[data-person]")) {
      this.names.set(bdi.dataset.person, bdi.textContent);
    }
  }

  name(id) {
    return this.names.get(id) ?? "–";
  }

  call(id, name) {
    if (this.names.get(id) === name) return;
    this.names.set(id, name);
    for (const bdi of root.querySelectorAll("bdi[data-person]")) {
      if (bdi.dataset.person === id) bdi.textContent = name;
    }
    this.show();
  }

  meet({ id, name }) {
    if (!this.names.has(id)) this.call(id, name);
    this.present.add(id);
  }

  here(members) {
    this.present.clear();
    for (const member of members) this.meet(member);
    this.show();
  }

  show() {
    const focused = document.activeElement?.closest(".member")?.dataset.id;
    const order = (id) => (id === me ? "" : this.name(id));
    const ids = [...this.present].sort((a, b) => order(a).localeCompare(order(b), language));
    part("people").replaceChildren(...ids.map((id) => this.row(id)));
    if (ids.length) part("present").textContent = ids.length;
    if (focused) part("people").querySelector(`[data-id="${CSS.escape(focused)}"] button`)?.focus();
  }

  row(id) {
    const row = copy("member");
    const button = row.querySelector("button");
    row.dataset.id = id;
    row.querySelector("bdi").textContent = this.name(id);
    part("self", row).hidden = id !== me;
    part("guest", row).hidden = !id.startsWith("guest-");
    button.hidden = id === me;
    button.setAttribute("aria-label", fill(words.writeTo, { name: this.name(id) }));
    button.addEventListener("click", () => this.onChoose(id));
    return row;
  }
}

// The messages in order of their ids, with lines between about people who come and go.
class Log {
  constructor(people) {
    this.people = people;
    this.list = part("log");
    this.scroll = part("scroll");
    this.news = part("news");
    this.known = new Map(); // Id of a message -> its element.
    this.follows = true;
    this.unread = 0;
    for (const item of this.list.children) {
      this.known.set(Number(item.dataset.message), item);
      this.dress(item);
    }
    this.tidy();
    this.scroll.addEventListener("scroll", () => this.scrolled());
    this.news.addEventListener("click", () => this.catchUp());
    // An on-screen keyboard makes the log smaller.
    new ResizeObserver(() => this.follows && this.toEnd()).observe(this.scroll);
  }

  // The ids of the newest messages, the oldest first.
  get latest() {
    return [...this.known.keys()].sort((a, b) => a - b).slice(-OVERLAP);
  }

  // Add messages. Return those that were not there yet.
  add(messages) {
    const fresh = messages.filter(({ id }) => !this.known.has(id));
    for (const message of fresh) this.put(message);
    if (fresh.length) this.changed(fresh.filter(({ author }) => author.id !== me).length);
    return fresh;
  }

  put(message) {
    const { id, token, author } = message;
    const waiting = author.id === me && token && this.waiting(token);
    if (waiting) waiting.remove();
    const item = this.item(message);
    item.classList.toggle("new", !waiting); // A waiting one was animated already.
    this.known.set(id, item);
    let next = null;
    for (let other = this.list.lastElementChild; other; other = other.previousElementSibling) {
      const isLater = other.dataset.waiting || Number(other.dataset.message) > id;
      if (isLater) next = other;
      else if (other.dataset.message) break;
    }
    this.list.insertBefore(item, next);
  }

  // Show a message that is being sent; `add` replaces it by the stored one.
  wait(message) {
    const item = this.item(message);
    item.classList.add("new");
    item.dataset.waiting = "yes";
    this.list.append(item);
    this.changed(0);
    this.catchUp();
    return item;
  }

  waiting(token) {
    return this.list.querySelector(`[data-waiting][data-token="${CSS.escape(token)}"]`);
  }

  line(text, before = null) {
    const line = document.createElement("li");
    line.className = "line";
    line.textContent = text;
    line.dataset.day = before?.dataset.day ?? dayOf(new Date());
    this.list.insertBefore(line, before);
    this.changed(0);
  }

  item({ id, token, author, recipient, text, posted_at }) {
    const item = copy("message");
    const [from, to] = item.querySelectorAll("bdi");
    item.dataset.message = id ?? "";
    item.dataset.author = author.id;
    item.dataset.token = token;
    item.classList.toggle("own", author.id === me);
    item.classList.toggle("private", Boolean(recipient));
    for (const [bdi, person] of [[from, author], [to, recipient]]) {
      bdi.dataset.person = person?.id ?? "";
      bdi.textContent = person ? (this.people.names.get(person.id) ?? person.name) : "";
    }
    part("only", item).hidden = !recipient;
    part("text", item).textContent = text;
    item.querySelector("time").dateTime = posted_at;
    this.dress(item);
    return item;
  }

  dress(item) {
    const time = item.querySelector("time");
    const moment = new Date(time.dateTime);
    time.textContent = moment.toLocaleTimeString(language, CLOCK);
    time.title = moment.toLocaleString(language);
    item.dataset.day = dayOf(moment);
    item.dataset.time = moment.getTime();
  }

  changed(news) {
    while (this.follows && this.list.children.length > MAX_ITEMS) {
      const oldest = this.list.firstElementChild;
      this.known.delete(Number(oldest.dataset.message));
      oldest.remove();
    }
    this.tidy();
    part("empty").hidden = this.known.size > 0 || Boolean(this.list.querySelector("[data-waiting]"));
    if (this.follows) {
      this.toEnd();
    } else if (news) {
      this.unread += news;
      const text = this.unread === 1 ? words.newOne : words.newMany;
      this.news.textContent = fill(text, { count: this.unread });
      this.news.hidden = false;
    }
  }

  // Write the day above its first message, and the name above messages in a row.
  tidy() {
    for (const old of this.list.querySelectorAll(".day")) old.remove();
    let day = null;
    let before = null;
    for (const item of [...this.list.children]) {
      const isNewDay = item.dataset.day !== day;
      if (isNewDay) item.before(this.day((day = item.dataset.day)));
      item.classList.toggle("same", !isNewDay && this.isSameBreath(before, item));
      before = item;
    }
  }

  day(text) {
    const day = document.createElement("li");
    day.className = "day";
    day.textContent = text;
    return day;
  }

  isSameBreath(before, item) {
    return (
      before.matches(".message") &&
      item.matches(".message") &&
      before.dataset.author === item.dataset.author &&
      !before.matches(".private") &&
      !item.matches(".private") &&
      item.dataset.time - before.dataset.time < SAME_BREATH
    );
  }

  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    this.follows = scrollHeight - scrollTop - clientHeight < 40;
    if (!this.follows) return;
    this.unread = 0;
    // The button is hidden, so the focus moves to the log.
    if (document.activeElement === this.news) this.scroll.focus({ preventScroll: true });
    this.news.hidden = true;
  }

  toEnd() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  catchUp() {
    this.toEnd();
    this.scrolled();
  }
}

// One sentence for all new messages, and not before the last one could be read aloud.
class Speaker {
  constructor() {
    this.texts = [];
    this.messages = [];
  }

  say(text) {
    this.texts.push(text);
    this.timer ??= window.setTimeout(() => this.speak(), 500);
  }

  tell(message, name) {
    this.messages.push(name);
    this.say(fill(message.recipient ? words.saidPrivate : words.saidOne, { name, text: message.text }));
  }

  speak() {
    const count = this.messages.length;
    const many = fill(words.saidMany, { count, name: this.messages.at(-1) });
    part("said").textContent = count > 2 ? many : this.texts.slice(-3).join(". ");
    this.texts = [];
    this.messages = [];
    this.timer = window.setTimeout(() => {
      this.timer = null;
      if (this.texts.length) this.speak();
    }, SPEAK_EVERY);
  }
}

// Who is typing: a client event counts for a few seconds.
class Typing {
  constructor(people) {
    this.people = people;
    this.timers = new Map();
  }

  begun(id) {
    if (id === me || !this.people.present.has(id)) return;
    window.clearTimeout(this.timers.get(id));
    this.timers.set(id, window.setTimeout(() => this.ended(id), TYPING_LASTS));
    this.show();
  }

  ended(id) {
    window.clearTimeout(this.timers.get(id));
    if (this.timers.delete(id)) this.show();
  }

  allEnded() {
    for (const id of [...this.timers.keys()]) this.ended(id);
  }

  show() {
    const [name, other, more] = [...this.timers.keys()].map((id) => this.people.name(id));
    const text = more ? words.typingMany : other ? words.typingTwo : name ? words.typingOne : "";
    part("typing").textContent = fill(text, { name, other });
  }
}

// The form for new messages. A message is shown in the log while it is being sent.
class Composer {
  constructor(chat) {
    this.chat = chat;
    this.form = part("composer");
    this.text = this.form.elements.text;
    this.recipient = null;
    this.sending = Promise.resolve(); // One after the other, to keep their order.
    this.whispered = 0;

    this.form.addEventListener("submit", (submit) => {
      submit.preventDefault();
      this.submit();
    });
    this.text.addEventListener("input", () => this.changed());
    this.text.addEventListener("keydown", (press) => {
      // Enter also ends the composition of a syllable, which must not send.
      const isSend = press.key === "Enter" && !press.shiftKey && !press.isComposing;
      if (isSend && press.keyCode !== 229) {
        press.preventDefault();
        this.submit();
      }
    });
    this.form.addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && this.recipient) this.address(null);
    });
    part("to-all-button").addEventListener("click", () => this.address(null));
    this.grow();
  }

  // Write to one person, or with null to everybody.
  address(id) {
    this.stopTyping();
    this.recipient = id;
    this.form.classList.toggle("private", Boolean(id));
    part("to-word").textContent = id ? words.toOne : words.toAll;
    part("to-name").dataset.person = id ?? me;
    part("to-name").textContent = this.chat.people.name(id ?? me);
    part("to-all-button").hidden = !id;
    this.text.focus();
  }

  changed() {
    this.grow();
    const remaining = this.remaining();
    if (remaining < 0) this.help(words.tooLong, { count: -remaining });
    else if (remaining <= 50) this.help(words.remaining, { count: remaining });
    else this.help("");
    this.tellTyping();
  }

  tellTyping() {
    if (!this.text.value.trim()) {
      this.stopTyping();
    } else if (!this.recipient && Date.now() - this.whispered > TYPING_EVERY) {
      // Typing a private message is private, too.
      this.whispered = Date.now();
      this.chat.whisper("typing");
    }
  }

  stopTyping() {
    if (this.whispered) this.chat.whisper("stopped");
    this.whispered = 0;
  }

  // Letters, as the server counts them.
  remaining() {
    return words.limit - [...this.text.value.trim()].length;
  }

  help(text, values = {}) {
    const help = part("help", this.form);
    help.textContent = fill(text, values);
    this.text.setAttribute("aria-invalid", String(this.remaining() < 0));
  }

  grow() {
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight + 2}px`;
  }

  submit() {
    const text = this.text.value.trim();
    if (!text) return this.help(words.nothing);
    if (this.remaining() < 0) return this.text.focus();
    const { people, log } = this.chat;
    const person = (id) => id && { id, name: people.name(id) };
    const message = {
      author: person(me),
      recipient: person(this.recipient),
      text,
      posted_at: new Date().toISOString(),
      token: [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join("-"),
    };
    this.text.value = "";
    this.grow();
    this.help("");
    this.whispered = 0; // The message itself ends the typing.
    this.send(message, log.wait(message));
  }

  send(message, item) {
    part("why", item)?.closest(".failure").remove();
    item.querySelector("time").textContent = words.sending;
    this.sending = this.sending.then(async () => {
      const { text, token, recipient } = message;
      const problem = await this.chat.post(this.form, { text, token, to: recipient?.id ?? "" });
      if (problem) this.failed(message, item, problem);
    });
  }

  failed(message, item, why) {
    // The message has arrived on another way.
    if (!item.isConnected) return;
    const failure = copy("failure");
    part("why", failure).textContent = why;
    item.append(failure);
    item.querySelector("time").textContent = "";
    part("again", item).addEventListener("click", () => this.send(message, item));
    part("back", item).addEventListener("click", () => {
      item.remove();
      this.text.value = [message.text, this.text.value].filter(Boolean).join("\n");
      this.address(message.recipient?.id ?? null);
      this.changed();
    });
    this.chat.log.changed(0);
    this.chat.speaker.say(why);
  }
}

class Chat {
  constructor() {
    this.people = new People((id) => {
      this.composer.address(id);
      this.drawer(false);
    });
    this.log = new Log(this.people);
    this.typing = new Typing(this.people);
    this.speaker = new Speaker();
    this.composer = new Composer(this);
    this.isLive = false; // Whether the channel is joined.
    this.since = this.log.latest; // The next fetch starts here; unchanged while away.
    this.isInStep = false;

    this.pill = new ConnectionPill(document.querySelector("[data-pill]"), Echo, this);
    this.join();
    this.signIn();
    this.wire();
  }

  join() {
    // shown
    this.channel = Echo.join(`chat.${words.room}`)
      .here((members) => this.here(members))
      .joining((member) => this.joined(member))
      .leaving((member) => this.left(member))
      .listen('MessagePosted', ({ message }) => this.heard(message))
      .listen('NicknameChanged', (change) => this.renamed(change))
      .listenForWhisper('typing', (_, { user_id }) => this.typing.begun(user_id))
      .listenForWhisper('stopped', (_, { user_id }) => this.typing.ended(user_id));

    Echo.connector.signin();
    Echo.connector.pusher.user.bind('PrivateMessagePosted', ({ message }) => {
      this.heard(message);
    });
    // end
    this.channel.error(({ error, status }) => {
      this.isLive = false;
      this.notice("channel", { why: error || status });
    });
  }

  signIn() {
    const { pusher } = Echo.connector;
    pusher.user.bind("pusher:signin_error", ({ error }) => this.notice("signin", { why: error }));
    // Private messages from before the subscription to the own channel are fetched, too.
    pusher.connection.bind("message", ({ event, channel }) => {
      if (event === "pusher_internal:subscription_succeeded" && channel?.startsWith("#")) this.sync();
    });
    pusher.connection.bind("state_change", ({ current }) => {
      if (current !== "connected") this.away();
    });
  }

  wire() {
    const nickname = part("nickname");
    nickname?.addEventListener("submit", async (submit) => {
      submit.preventDefault();
      const problem = await this.post(nickname, { name: nickname.elements.name.value });
      part("help", nickname).textContent = problem ?? "";
      nickname.elements.name.setAttribute("aria-invalid", String(Boolean(problem)));
      if (!problem) nickname.elements.name.value = this.people.name(me);
    });
    part("drawer").addEventListener("click", () => {
      this.drawer(part("drawer").getAttribute("aria-expanded") !== "true");
    });
    part("close").addEventListener("click", () => this.drawer(false));
    part("members").addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.drawer(false);
    });
  }

  // On narrow screens the people are behind a button.
  drawer(isOpen) {
    const button = part("drawer");
    const wasOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(isOpen));
    part("members").toggleAttribute("data-open", isOpen);
    if (isOpen) part("close").focus();
    else if (wasOpen && part("members").contains(document.activeElement)) button.focus();
    else if (wasOpen && document.activeElement === document.body) button.focus();
  }

  here(members) {
    this.isLive = true;
    part("people").classList.remove("stale");
    this.people.here(members);
    this.sync();
  }

  joined(member) {
    this.people.meet(member);
    this.people.show();
    this.quietly(words.joined, { name: this.people.name(member.id) });
  }

  left({ id }) {
    this.people.present.delete(id);
    this.people.show();
    this.typing.ended(id);
    this.quietly(words.left, { name: this.people.name(id) });
  }

  renamed({ person, before }) {
    this.people.call(person.id, person.name);
    this.typing.show();
    this.quietly(words.renamed, { before, name: person.name });
  }

  quietly(text, values) {
    this.log.line(fill(text, values));
    this.speaker.say(fill(text, values));
  }

  // Private messages of other rooms arrive here, too.
  heard(message) {
    if (String(message.room_id) !== words.room) return;
    this.typing.ended(message.author.id);
    this.show([message]);
    if (this.isInStep) this.since = this.log.latest;
  }

  show(messages) {
    const fresh = this.log.add(messages);
    for (const message of fresh) {
      const { id } = message.author;
      if (id !== me) this.speaker.tell(message, this.people.names.get(id) ?? message.author.name);
    }
    return fresh;
  }

  away() {
    this.isLive = false;
    this.isInStep = false;
    this.typing.allEnded();
    part("people").classList.add("stale");
  }

  // Fetch newer messages and all names. Calls during a fetch make one more.
  async sync() {
    if (this.isFetching) {
      this.mustFetch = true;
      return;
    }
    this.isFetching = true;
    this.mustFetch = false;
    window.clearTimeout(this.fetchTimer);
    try {
      const since = this.since.length < OVERLAP ? 0 : this.since[0];
      this.fetched(await this.ask(`${words.stateUrl}?since=${since}`));
    } catch ({ message }) {
      if (this.isLive) this.notice("lost", { why: message });
      this.fetchTimer = window.setTimeout(() => this.isLive && this.sync(), FETCH_AGAIN);
    } finally {
      this.isFetching = false;
    }
    if (this.mustFetch) this.sync();
  }

  fetched({ me: asked, messages, is_cut: isCut, people }) {
    for (const { id, name } of people) this.people.call(id, name);
    const [first] = this.show(messages);
    if (isCut && first) this.log.line(words.cut, this.log.known.get(first.id));
    if (this.isLive && !this.mustFetch) {
      this.isInStep = true;
      this.since = this.log.latest;
    }
    if (asked.id !== me) this.notice("other", { name: asked.name });
    else if (this.problem === "lost") this.notice(null);
  }

  async ask(url, options = {}) {
    const response = await fetch(url, {
      ...options,
      headers: { Accept: "application/json", ...options.headers },
      signal: AbortSignal.timeout(ANSWER_WITHIN),
    });
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    const answer = isJson ? await response.json() : {};
    if (response.ok && isJson) return answer;
    throw new Refusal(answer.error ?? `${response.status} ${response.statusText}`);
  }

  // Send a form's values. Return what went wrong, in words.
  async post(form, values) {
    try {
      const { message, person } = await this.ask(form.action, {
        method: "POST",
        body: new URLSearchParams({ me, ...values }),
        headers: {
          "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
          "X-Socket-ID": Echo.socketId() ?? "",
        },
      });
      if (message) this.log.add([message]);
      if (person) this.people.call(person.id, person.name);
      return null;
    } catch (error) {
      // Any other error means that there was no answer.
      return error instanceof Refusal ? fill(words.failed, { why: error.message }) : words.silent;
    }
  }

  whisper(name) {
    if (this.isLive) this.channel.whisper(name, {});
  }

  notice(problem, values) {
    this.problem = problem;
    tell(part("notice"), problem, values);
  }
}

class Refusal extends Error {}

new Chat();
