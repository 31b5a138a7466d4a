// Two tabs in one page: the left one uses Echo, the right one a second connection.
const echoes = [Echo, new Echo.constructor(Echo.options)];
const panes = [...document.querySelectorAll("[data-pane]")].map((element, i) => {
  const pane = new LivePane(element);
  new ConnectionPill(element.querySelector("[data-pill]"), echoes[i], pane);
  echoes[i]
    .channel("whik")
    .listen("NewUserCreated", (e) => pane.add("NewUserCreated", e))
    .error(({ error }) => pane.notice("channel", { why: error }));
  return pane;
});

const form = document.querySelector("[data-make]");
makeUsers(form, Echo, panes[0]);

// The time from the button, through the server, to the other connection.
const flight = document.querySelector("[data-flight]");
let pressed = null;
form.addEventListener("submit", () => {
  pressed = performance.now();
});
echoes[1].channel("whik").listen("NewUserCreated", () => {
  if (pressed === null) return;
  flight.textContent = fill(flight.dataset.text, { ms: Math.round(performance.now() - pressed) });
  pressed = null;
});
