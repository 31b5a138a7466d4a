// The list needs no script of its own; this one shows the connection, and what went wrong with
// what htmx has asked for.
const root = document.querySelector("[data-things]");
const part = (name) => root.querySelector(`[data-${name}]`);
const pane = { notice: (problem, values) => tell(part("notice"), problem, values) };

new ConnectionPill(document.querySelector("[data-pill]"), Echo, pane);

root.addEventListener("htmx:beforeRequest", () => {
  part("wrong").textContent = "";
});
root.addEventListener("htmx:afterRequest", ({ target, detail }) => {
  if (!detail.successful) return;
  pane.notice(null);
  if (target.matches("[data-make]")) target.reset();
});
root.addEventListener("htmx:responseError", ({ detail: { xhr } }) => {
  // These say it themselves.
  if ([400, 404, 429].includes(xhr.status)) return;
  pane.notice("failed", { why: `${xhr.status} ${xhr.statusText}` });
});
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  root.addEventListener(name, () => pane.notice("silent"));
}
