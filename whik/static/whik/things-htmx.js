// The list needs no script of its own; this one shows the connection, and what went wrong with
// what htmx has asked for.
const root = document.querySelector("[data-things]");
const part = (name) => root.querySelector(`[data-${name}]`);
const pane = { notice: (problem, values) => tell(part("notice"), problem, values) };

new ConnectionPill(document.querySelector("[data-pill]"), Echo, pane);

root.addEventListener("htmx:beforeRequest", () => {
  part("wrong").textContent = "";
});
// The field is free for the next name at once; what was refused comes back into it.
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
  // These say it themselves.
  if ([400, 404, 429].includes(xhr.status)) return;
  pane.notice("failed", { why: `${xhr.status} ${xhr.statusText}` });
});
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  root.addEventListener(name, () => pane.notice("silent"));
}
