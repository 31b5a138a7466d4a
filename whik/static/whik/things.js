// The list of things, kept equal to the server's. The database has all things, and the socket
// brings changes sooner. A change of a thing may arrive twice; the second has no effect. All
// texts are in the page; what arrives is shown as text.

const FETCH_AGAIN = 2000; // Milliseconds, as all below.
const ANSWER_WITHIN = 15000;
const NOTE_LASTS = 10000;
const LEAVING_LASTS = 180;
const SETTLED_AFTER = 5000; // An event may come so long after its change.

const root = document.querySelector("[data-things]");
const words = root.dataset;
const part = (name, from = root) => from.querySelector(`[data-${name}]`);
const language = document.documentElement.lang;

// The rows, newest first. They appear, change and go in place.
class Rows {
  constructor() {
    this.list = part("list");
    this.template = root.querySelector("template").content.firstElementChild;
    this.known = new Map(); // Id of a thing -> its row.
    for (const row of this.list.children) {
      this.known.set(Number(row.dataset.thing), row);
      this.dress(row);
    }
  }

  // Show a thing. Return a sentence about the change, null without one.
  put(thing, own = false) {
    const row = this.known.get(thing.id);
    return row ? this.change(row, thing, own) : this.add(thing, own);
  }

  add(thing, own) {
    const row = this.template.cloneNode(true);
    row.dataset.thing = thing.id;
    part("field", row).id = `thing-${thing.id}`;
    for (const element of row.querySelectorAll("[aria-describedby]")) {
      element.setAttribute("aria-describedby", `thing-${thing.id}`);
    }
    row.querySelector("time").dateTime = thing.made_at;
    this.dress(row);
    this.write(row, thing);
    row.classList.add("new");
    this.note(row, own ? words.own : words.new);
    const later = [...this.known].filter(([id]) => id > thing.id).map(([, other]) => other);
    if (later.length) later.at(-1).after(row);
    else this.list.prepend(row);
    // In order, as on the page.
    this.known = new Map([...this.known, [thing.id, row]].sort(([a], [b]) => b - a));
    this.counted();
    return fill(words.saidNew, thing);
  }

  change(row, thing, own) {
    const before = part("field", row).textContent;
    const changed = this.write(row, thing);
    if (!changed.length) return null;
    for (const field of changed) {
      field.classList.remove("changed");
      void field.offsetWidth; // So that it is marked again.
      field.classList.add("changed");
    }
    this.note(row, own ? words.own : fill(words.was, { before }));
    return fill(words.saidWas, { before, name: thing.name });
  }

  // Return the fields that were not so before.
  write(row, thing) {
    const fields = [...row.querySelectorAll("[data-field]")];
    const changed = fields.filter((field) => field.textContent !== thing[field.dataset.field]);
    for (const field of changed) field.textContent = thing[field.dataset.field];
    const { name } = part("rename", row).elements;
    name.defaultValue = thing.name;
    // Keep what somebody is typing here.
    if (!row.querySelector("details").open) name.value = thing.name;
    return changed;
  }

  remove(id) {
    const row = this.known.get(id);
    if (!row) return null;
    this.known.delete(id);
    if (row.contains(document.activeElement)) document.getElementById("things-title").focus();
    row.inert = true;
    row.classList.add("gone");
    window.setTimeout(() => row.remove(), LEAVING_LASTS);
    this.counted();
    return fill(words.saidGone, { name: part("field", row).textContent });
  }

  // Make the list equal to that of the server.
  replace(things) {
    const ids = new Set(things.map(({ id }) => id));
    const gone = [...this.known.keys()].filter((id) => !ids.has(id));
    return [...gone.map((id) => this.remove(id)), ...things.map((thing) => this.put(thing))];
  }

  dress(row) {
    const time = row.querySelector("time");
    const moment = new Date(time.dateTime);
    time.textContent = moment.toTimeString().slice(0, 5);
    time.title = moment.toLocaleString(language);
  }

  note(row, text) {
    const note = part("note", row);
    note.textContent = text;
    window.clearTimeout(note.timer);
    note.timer = window.setTimeout(() => (note.textContent = ""), NOTE_LASTS);
  }

  counted() {
    part("count").textContent = this.known.size.toLocaleString();
    part("empty").hidden = this.known.size > 0;
  }
}

class Things {
  constructor() {
    this.rows = new Rows();
    this.waiting = null; // Changes that arrive while the list is fetched.
    this.heard = 0;
    this.mine = new Set(); // Ids of things that this page changed just now.
    this.deleted = null; // The thing that "Undo" makes again.
    this.making = Promise.resolve(); // One after the other, to keep their order.
    this.texts = [];
    this.pill = new ConnectionPill(document.querySelector("[data-pill]"), Echo, this);
    this.join();
    this.wire();
  }

  // shown
  join() {
    this.channel = Echo.channel('things')
      .listen('thing:create', ({ model }) => this.hear(model, () => this.put(model)))
      .listen('thing:update', ({ model }) => this.hear(model, () => this.put(model)))
      .listen('thing:destroy', ({ model }) => this.hear(model, () => this.remove(model.id)))
      .subscribed(() => this.refresh()); // At first, and after every reconnection.
  }

  hear({ id }, change) {
    this.heard += 1;
    this.apply(change);
    // It may be older or newer than this page's own change: fetch the list.
    if (this.mine.has(id)) this.refresh();
  }

  apply(change) {
    if (this.waiting) this.waiting.push(change);
    else change();
  }

  // Fetch the list while events wait, show it, then apply the events.
  async refresh() {
    const waiting = [];
    this.waiting = waiting;
    try {
      const { things } = await this.ask('GET');
      // Otherwise a later call has begun, whose list is newer.
      if (this.waiting === waiting) this.show(things);
    } catch ({ message }) {
      if (this.waiting === waiting) this.fetchAgain(message);
    }
    if (this.waiting !== waiting) return;
    this.waiting = null;
    for (const change of waiting) change();
  }
  // end

  show(things) {
    this.say(...this.rows.replace(things));
    if (this.problem === "lost") this.notice(null);
  }

  fetchAgain(why) {
    if (Echo.connector.pusher.connection.state !== "connected") return; // Then it is fetched anyway.
    this.notice("lost", { why });
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.refresh(), FETCH_AGAIN);
  }

  put(thing, own) {
    this.say(this.rows.put(thing, own));
  }

  remove(id) {
    this.say(this.rows.remove(id));
  }

  wire() {
    this.channel.error(({ error, status }) => this.notice("channel", { why: error || status }));
    Echo.connector.pusher.connection.bind("state_change", ({ current }) => {
      part("list").classList.toggle("stale", current !== "connected");
    });
    root.addEventListener("submit", (submit) => {
      submit.preventDefault();
      const form = submit.target;
      const id = Number(form.closest("[data-thing]")?.dataset.thing);
      const name = form.elements.name?.value;
      if (form.matches("[data-make]")) this.make(form, name);
      else if (form.matches("[data-rename]")) this.rename(form, id, name);
      else this.delete(form, id);
    });
    part("undo").querySelector("button").addEventListener("click", () => this.undo());
  }

  // The field is emptied for the next name; a refused name comes back.
  make(form, name) {
    const field = form.elements.name;
    field.value = "";
    this.making = this.making.then(async () => {
      const thing = await this.act(form, "POST", "", { name });
      if (!thing && !field.value) field.value = name;
    });
  }

  async rename(form, id, name) {
    if (!(await this.act(form, "PATCH", id, { name }))) return;
    const details = form.closest("details");
    const hadFocus = details.contains(document.activeElement);
    details.open = false;
    if (hadFocus) details.firstElementChild.focus();
  }

  async delete(form, id) {
    const thing = await this.act(form, "DELETE", id);
    if (!thing) return;
    this.deleted = thing;
    const undo = part("undo");
    part("text", undo).textContent = fill(part("text", undo).dataset.text, thing);
    undo.hidden = false;
    undo.querySelector("button").focus();
  }

  // Make a thing of the same name, as the form does.
  async undo() {
    const undo = part("undo");
    const thing = await this.act(undo, "POST", "", { name: this.deleted.name });
    if (!thing) return;
    undo.hidden = true;
    this.rows.known.get(thing.id)?.querySelector("summary").focus();
  }

  // Ask the server for a change. Return the thing as it is now, or null after an error, which
  // is shown.
  async act(place, method, path, fields) {
    if (place.ariaBusy === "true") return null;
    place.ariaBusy = "true";
    const { heard } = this;
    try {
      const { thing } = await this.ask(method, path, fields);
      const isLater = this.heard !== heard; // Others have changed things meanwhile.
      this.apply(() => (method === "DELETE" ? this.remove(thing.id) : this.put(thing, true)));
      this.mine.add(thing.id);
      window.setTimeout(() => this.mine.delete(thing.id), SETTLED_AFTER);
      if (isLater) this.refresh();
      this.wrong(place, "");
      if (["failed", "silent"].includes(this.problem)) this.notice(null);
      return thing;
    } catch (error) {
      // Any other error means that there was no answer.
      if (error instanceof Refusal) this.wrong(place, error.message);
      else this.notice("silent");
      this.refresh(); // The change may have been made.
      return null;
    } finally {
      place.ariaBusy = null;
    }
  }

  wrong(place, why) {
    const wrong = part("wrong", place);
    if (!wrong) return why && this.notice("failed", { why });
    wrong.textContent = why;
    place.elements.name.setAttribute("aria-invalid", String(Boolean(why)));
    if (why) place.elements.name.focus();
  }

  async ask(method, path = "", fields = null) {
    const headers = { Accept: "application/json" };
    if (method !== "GET") {
      headers["X-CSRFToken"] = part("make").elements.csrfmiddlewaretoken.value;
      // The broadcast leaves out this page, which shows the answer.
      if (Echo.socketId()) headers["X-Socket-ID"] = Echo.socketId();
    }
    if (fields) headers["Content-Type"] = "application/json";
    const response = await fetch(words.url + (path && `${path}/`), {
      method,
      headers,
      body: fields && JSON.stringify(fields),
      signal: AbortSignal.timeout(ANSWER_WITHIN),
    });
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    const answer = isJson ? await response.json() : {};
    if (response.ok && isJson) return answer;
    const errors = Object.values(answer.errors ?? {}).flat();
    throw new Refusal(
      answer.error ?? (errors.join(" ") || `${response.status} ${response.statusText}`),
    );
  }

  // One sentence for all changes, and not before the last one could be read aloud.
  say(...texts) {
    this.texts.push(...texts.filter(Boolean));
    if (this.texts.length) this.speaking ??= window.setTimeout(() => this.speak(), 500);
  }

  speak() {
    const many = fill(words.saidMany, { count: this.texts.length });
    part("said").textContent = this.texts.length > 3 ? many : this.texts.join(". ");
    this.texts = [];
    this.speaking = window.setTimeout(() => {
      this.speaking = null;
      this.say();
    }, SPEAK_EVERY);
  }

  notice(problem, values) {
    this.problem = problem;
    tell(part("notice"), problem, values);
  }
}

class Refusal extends Error {}

new Things();
