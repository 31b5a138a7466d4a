// The list needs no script of its own. This one shows the state of the connection, and errors
// of htmx's requests.
const root = document.querySelector("[data-things]");
const part = (name) => root.querySelector(`[data-${name}]`);
const pane = { notice: (problem, values) => tell(part("notice"), problem, values) };

new ConnectionPill(document.querySelector("[data-pill]"), Echo, pane);

root.addEventListener("htmx:beforeRequest", () => {
  part("wrong").textContent = "";
});
// The field is emptied for the next name; a refused name comes back.
root.addEventListener("htmx:configRequest", ({ target }) => {
  if (target === part("make")) target.elements.name.value = "";
});
root.addEventListener("htmx:afterRequest", ({ target, detail }) => {
  if (detail.successful) pane.notice(null);
  else if (target === part("make")) {
    target.elements.name.value ||= detail.requestConfig.parameters.name;
  }
});
root.addEventListener("htmx:responseError", ({ detail: { xhr } }) => {
  // Their answer is shown.
  if ([400, 404, 429].includes(xhr.status)) return;
  pane.notice("failed", { why: `${xhr.status} ${xhr.statusText}` });
});
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  root.addEventListener(name, () => pane.notice("silent"));
}
