// Makes window.Echo, until now Laravel Echo's module, an instance that talks to the
// server this page came from. The settings are attributes of this very script.
(() => {
  const { key, path, authEndpoint, userAuthEndpoint, csrfToken } = document.currentScript.dataset;
  const { protocol, hostname, port } = window.location;
  const token =
    document.querySelector('meta[name="csrf-token"]')?.content ??
    document.querySelector("input[name=csrfmiddlewaretoken]")?.value ??
    csrfToken ??
    null;

  window.Echo = new window.Echo.default({
    broadcaster: "reverb",
    key,
    wsHost: hostname,
    wsPort: port || 80,
    wssPort: port || 443,
    wsPath: path,
    forceTLS: protocol === "https:",
    // No fallbacks over HTTP: this server has none.
    enabledTransports: ["ws", "wss"],
    disableStats: true,
    // Django has no App.Events: an event is called what its class is called.
    namespace: false,
    authEndpoint,
    userAuthentication: { endpoint: userAuthEndpoint, headers: {} },
    csrfToken: token,
  });

  // Echo tells axios and jQuery; htmx, 2 or 4, is told here. Other sites learn no id.
  const tell = (address, headers) => {
    const id = window.Echo.socketId();
    const isOurs = new URL(address, document.baseURI).origin === window.location.origin;
    if (id && isOurs) headers["X-Socket-ID"] = id;
  };
  document.addEventListener("htmx:configRequest", ({ detail }) => tell(detail.path, detail.headers));
  document.addEventListener("htmx:config:request", ({ detail }) => {
    tell(detail.ctx.request.action, detail.ctx.request.headers);
  });
})();
