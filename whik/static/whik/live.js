// What pages that listen have in common: the state of the connection, and a list of events.
// All texts are in the page, in attributes and templates, so that they can be translated.

const MAX_ROWS = 200;
const RATE_SECONDS = 5;
const SPEAK_EVERY = 3000; // Milliseconds, for a screen reader to finish.

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// Show the text of the attribute data-<problem> in `notice`; null hides it.
function tell(notice, problem, values = {}) {
  // A page without sign-in has no text for "ended".
  const words = notice.dataset[problem] ?? notice.dataset.refused;
  const text = problem ? fill(words, values) : "";
  // A live region is read aloud each time it is written.
  if (notice.textContent !== text) notice.textContent = text;
  notice.hidden = !text;
}

// A list of events, the newest first. Data is shown as text, never as HTML, since anybody may
// have written it.
class LivePane {
  constructor(element) {
    this.element = element;
    this.part = (name) => element.querySelector(`[data-${name}]`);
    this.rows = this.part("rows");
    this.template = element.querySelector("template").content.firstElementChild;

    this.count = 0;
    this.arrivals = []; // When the events of the last seconds came.
    this.waiting = []; // Rows of the next frame, oldest first.
    this.unsaid = 0;

    this.rows.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button) this.toggle(button);
    });
    window.setInterval(() => this.showRate(), 1000);
  }

  // `own` marks events of this page, which its own socket does not receive.
  add(event, data, { own = false } = {}) {
    this.count += 1;
    this.unsaid += 1;
    this.arrivals.push(performance.now());
    this.waiting.push({ event, data, own, time: new Date() });
    // A hidden page paints no frames, so rows that would be removed again are dropped here.
    if (this.waiting.length > MAX_ROWS) this.waiting.shift();
    this.frame ??= window.requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.frame = null;
    const rows = this.waiting.splice(0).map((arrival) => this.row(arrival));
    this.rows.prepend(...rows.reverse());
    while (this.rows.children.length > MAX_ROWS) this.rows.lastElementChild.remove();
    this.part("empty").hidden = true;
    this.part("count").textContent = this.count.toLocaleString();
    this.showRate();
    this.speaking ??= window.setTimeout(() => this.speak(), 500);
  }

  row({ event, data, own, time }) {
    const row = this.template.cloneNode(true);
    const set = (name, text) => {
      row.querySelector(`[data-${name}]`).textContent = text;
    };
    const user = data?.user;
    set("time", time.toTimeString().slice(0, 8));
    row.querySelector("time").dateTime = time.toISOString();
    set("event", event);
    set("name", user?.name ?? user?.username ?? "–");
    set("email", user?.email ?? "");
    set("payload", JSON.stringify(data, null, 2));
    row.classList.toggle("own", own);
    row.querySelector("[data-own]").hidden = !own;
    return row;
  }

  toggle(button) {
    const payload = button.closest("li").querySelector("[data-payload]");
    payload.hidden = !payload.hidden;
    button.setAttribute("aria-expanded", String(!payload.hidden));
  }

  showRate() {
    const since = performance.now() - RATE_SECONDS * 1000;
    this.arrivals = this.arrivals.filter((time) => time > since);
    const rate = this.arrivals.length / RATE_SECONDS;
    this.part("rate").textContent = rate.toLocaleString(undefined, { maximumFractionDigits: 1 });
  }

  // One sentence for all new rows, and not before the last one could be read aloud.
  speak() {
    const said = this.part("said");
    const name = this.rows.querySelector("[data-name]").textContent;
    said.textContent = fill(said.dataset.text, { count: this.unsaid, name });
    this.unsaid = 0;
    this.speaking = window.setTimeout(() => {
      this.speaking = null;
      if (this.unsaid) this.speak();
    }, SPEAK_EVERY);
  }

  notice(problem, values) {
    tell(this.part("notice"), problem, values);
  }
}

// The state of one connection. pusher-js waits up to a minute between attempts to reconnect,
// which is long for somebody who watches, so the attempts are made here.
class ConnectionPill {
  constructor(element, echo, pane) {
    this.element = element;
    this.pane = pane;
    this.part = (name) => element.querySelector(`[data-${name}]`);
    this.pusher = echo.connector.pusher;
    this.attempts = 0;
    this.refusal = null;
    this.wasLive = false;

    const { connection } = this.pusher;
    connection.bind("state_change", () => this.changed());
    connection.bind("connecting_in", () => this.retryIn(1));
    connection.bind("error", ({ error, data = error?.data }) => {
      if (data?.code >= 4000 && data.code < 4100) this.refusal = data;
    });
    connection.bind("message", ({ event }) => {
      if (event === "pusher:pong") this.measured();
    });
    element.addEventListener("pointerenter", () => this.ping());
    element.addEventListener("focusin", () => this.ping());
    element.addEventListener("pointerleave", () => element.removeAttribute("data-dismissed"));
    element.addEventListener("focusout", () => element.removeAttribute("data-dismissed"));
    element.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") element.dataset.dismissed = "";
    });
    this.changed();
  }

  changed() {
    const { state } = this.pusher.connection;
    // "unavailable" means that an attempt takes long, which is handled here already.
    if (this.restarting || state === "unavailable") return;
    window.clearTimeout(this.timer);
    switch (state) {
      case "connected":
        this.attempts = 0;
        this.refusal = null;
        this.wasLive = true;
        this.part("socket").textContent = this.pusher.connection.socket_id;
        this.show("live");
        this.pane.notice(null);
        this.ping();
        break;
      case "disconnected":
      case "failed":
        // Only after a refusal, since these pages do not disconnect themselves.
        this.refused(this.refusal ?? { message: state });
        break;
      default:
        this.show("connecting");
        this.timer = window.setTimeout(() => this.retryIn(2 ** this.attempts), 2000);
    }
  }

  // The codes are those of the Pusher protocol. A server may send them without a reason.
  refused({ code, message }) {
    // 4009 once the connection was live: the user has signed this window out.
    const isEnded = this.wasLive && Number(code) === 4009;
    const { dataset } = this.element;
    const why = isEnded ? dataset.whyEnded : (dataset[`why-${code}`] ?? (message || code));
    this.show("refused", { why });
    this.pane.notice(isEnded ? "ended" : "refused", { why });
  }

  // Count down, then try again.
  retryIn(seconds) {
    window.clearTimeout(this.timer);
    this.attempts = Math.min(this.attempts + 1, 3);
    this.pane.notice("away");
    this.count(seconds);
  }

  count(seconds) {
    const offline = !navigator.onLine;
    this.show(offline ? "offline" : seconds ? "reconnecting" : "connecting", { seconds });
    this.timer = window.setTimeout(
      () => (seconds ? this.count(seconds - 1) : this.restart()),
      seconds ? 1000 : 0,
    );
  }

  restart() {
    // pusher-js makes the first attempt itself, and is "connected" until then.
    if (this.pusher.connection.state === "connected") return;
    this.restarting = true;
    this.pusher.disconnect();
    this.restarting = false;
    this.pusher.connect();
  }

  show(state, values = {}) {
    this.element.dataset.state = state;
    this.part("word").textContent = fill(this.element.dataset[state], values);
    if (state !== "live") this.part("latency").parentElement.hidden = true;
  }

  ping() {
    if (this.pusher.connection.state !== "connected") return;
    this.pinged = performance.now();
    this.pusher.connection.send_event("pusher:ping", {});
  }

  measured() {
    if (!this.pinged) return; // A ping of pusher-js, not of this page.
    const milliseconds = performance.now() - this.pinged;
    this.pinged = null;
    this.part("latency").textContent = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
    this.part("latency").parentElement.hidden = false;
  }
}

// Make users without leaving the page. The request has the socket's id, so that
// broadcast(..., to_others=True) leaves this page out; its pane shows the answer instead.
function makeUsers(form, echo, pane) {
  form.addEventListener("submit", async (submit) => {
    submit.preventDefault();
    try {
      const response = await fetch(form.action, {
        method: "POST",
        body: new URLSearchParams(new FormData(form, submit.submitter)),
        headers: {
          "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
          "X-Socket-ID": echo.socketId() ?? "",
        },
      });
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      const { users } = await response.json();
      for (const user of users) pane.add("NewUserCreated", { user }, { own: true });
      pane.notice(null);
    } catch (error) {
      // fetch itself raises TypeError if there is no answer.
      if (error instanceof TypeError) pane.notice("silent");
      else pane.notice("failed", { why: error.message });
    }
  });
}
