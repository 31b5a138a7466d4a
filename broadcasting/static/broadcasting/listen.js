// <broadcast-listen> puts HTML that the server renders into the page. Its attributes are the
// arguments of the template tag. It needs window.Echo, and uses htmx if the page has it.

const METHODS = {
  innerHTML: "replaceChildren",
  outerHTML: "replaceWith",
  beforebegin: "before",
  afterbegin: "prepend",
  beforeend: "append",
  afterend: "after",
  delete: "remove",
  none: "contains", // Changes nothing.
};
const isBeside = (swap) => swap === "beforebegin" || swap === "afterend";
const changed = new WeakMap(); // Message -> the elements that it has changed.

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template;
}

function select(selector, root) {
  // An id may hold what a selector would have to escape, such as a digit in front.
  const whole = root.getElementById ? root : document;
  const named = selector.startsWith("#") && whole.getElementById(selector.slice(1));
  if (named) return root.contains(named) ? named : null;
  try {
    return root.matches?.(selector) ? root : root.querySelector(selector);
  } catch {
    return null; // Not a selector.
  }
}

// Scripts in `html` do not run, as in every parsed fragment.
function put(html, swap, target) {
  const { content } = parse(html);
  const elements = [...content.children];
  const focused = document.activeElement;
  const parent = isBeside(swap) ? target.parentNode : target;
  // An element whose id exists already replaces the old one, where that is.
  for (const element of /begin|end/.test(swap) ? elements : []) {
    const twin = element.id && document.getElementById(element.id);
    if (twin && twin.parentNode === parent) twin.replaceWith(element);
  }
  target[METHODS[swap]](content);
  for (const element of elements) window.htmx?.process(element);
  // The focus moves to the new element with the same id.
  if (focused?.id && !focused.isConnected) {
    document.getElementById(focused.id)?.focus({ preventScroll: true });
  }
}

async function load(address) {
  const signal = AbortSignal.timeout(20_000);
  const response = await fetch(address, { mode: "same-origin", signal });
  const { headers, redirected, status, url } = response;
  const isHtml = headers.get("Content-Type")?.startsWith("text/html");
  // A redirect may lead to a login page.
  if (status === 200 && isHtml && !redirected) return response.text();
  const isPassing = status >= 500 || status === 429;
  throw Object.assign(new Error(`${status} from ${url}, or no HTML`), { isFinal: !isPassing });
}

class BroadcastListen extends HTMLElement {
  connectedCallback() {
    if (this.stop) return; // It was only moved.
    const { pusher, channels } = window.Echo?.connector ?? {};
    if (!pusher) return this.warn("there is no window.Echo");
    const event = this.getAttribute("event");
    // Client events may come from anybody on the channel.
    if (event.startsWith("client-")) return this.warn("not an event of the server");
    const handlers = Object.entries({
      [event]: (message) => (this.held ? this.held.push(message) : this.apply(message)),
      "pusher:subscription_succeeded": () => this.refresh(),
      "pusher:subscription_error": ({ status }) => this.warn("joining was refused:", status),
    });
    // All tags and the page's own scripts share the channel.
    const channel = pusher.subscribe(this.getAttribute("channel"));
    channel.tags = (channel.tags ?? 0) + 1;
    for (const handler of handlers) channel.bind(...handler);
    this.stop = () => {
      this.stop = this.held = null;
      clearTimeout(this.retry);
      for (const handler of handlers) channel.unbind(...handler);
      channel.tags -= 1;
      const { name } = channel;
      const isOurs = pusher.channel(name) === channel && !channels[name];
      if (isOurs && !channel.tags) pusher.unsubscribe(name);
    };
    if (channel.subscribed) this.refresh();
  }

  disconnectedCallback() {
    // A moment later: an element that is moved is taken away first.
    queueMicrotask(() => this.isConnected || this.stop?.());
  }

  // `isLate`: it was held back until a refresh, which may contain its change.
  apply(message, isLate) {
    const { html, swap, target: selector } = message ?? {};
    if (typeof html !== "string" || !Object.hasOwn(METHODS, swap)) {
      return this.warn("broadcast_html sends other data than", message);
    }
    const target = this.find(selector, swap);
    if (!target) return isLate || this.warn("not there, or outside of its target:", selector);
    // Several tags may receive a message; one of them changes an element.
    const elements = changed.get(message) ?? new WeakSet();
    if (elements.has(target) && !isLate) return;
    changed.set(message, elements.add(target));
    this.change(html, swap, target);
  }

  // Return the element that a message changes: inside this tag's target, if it has one.
  find(selector, swap) {
    const own = this.getAttribute("target");
    const bounds = own ? select(own, document) : document.documentElement;
    if (!bounds || !selector) return own && bounds;
    const target = select(selector, bounds);
    return own && target === bounds && isBeside(swap) ? null : target;
  }

  change(html, swap, target) {
    put(html, swap, target);
    this.dispatchEvent(new Event("broadcast:swapped", { bubbles: true }));
  }

  // Fetch the current HTML. Messages that arrive meanwhile are held back and applied to it
  // afterwards, since it may be older. A reconnect drops them: the next HTML is newer.
  async refresh(wait = 1000) {
    const address = this.getAttribute("refresh");
    if (!address) return;
    clearTimeout(this.retry);
    const held = (this.held = []);
    const answer = await load(address).catch((error) => error);
    if (held !== this.held) return; // Another one is under way, or the tag is gone.
    this.held = null;
    if (typeof answer === "string") this.replace(answer);
    else this.warn("no refresh:", answer);
    for (const message of held) this.apply(message, true);
    if (typeof answer === "string" || answer.isFinal) return;
    // Random, so that not all pages ask a restarted server at once.
    const again = () => this.refresh(Math.min(2 * wait, 30_000));
    this.retry = setTimeout(again, wait * (0.5 + Math.random()));
  }

  replace(html) {
    const own = this.getAttribute("target");
    const target = this.find();
    if (!target || target.contains(this)) return this.warn("not there, or around it:", own);
    // The answer may be a whole page: then the inside of its target is used.
    const page = parse(html);
    const fresh = (select(own, page.content) ?? page).innerHTML;
    // Unchanged HTML stays, with what was typed into it, and is not read aloud again.
    if (fresh.trim() !== target.innerHTML.trim()) this.change(fresh, "innerHTML", target);
  }

  warn(...words) {
    this.warned ??= new Set();
    if (!this.warned.has(words[0])) console.warn("broadcast-listen:", ...words, this);
    this.warned.add(words[0]);
  }
}

// A page may load two builds of this file, from before and after a deployment.
customElements.get("broadcast-listen") ?? customElements.define("broadcast-listen", BroadcastListen);
