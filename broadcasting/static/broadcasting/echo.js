// Makes window.Echo, until now Laravel Echo's module, an instance that talks to the server
// this page came from. The settings are attributes of this script element.
(() => {
  // What the instance is made with.
  function options({ key, path, authEndpoint, userAuthEndpoint, csrfToken }) {
    const { protocol, hostname, port } = window.location;
    return {
      broadcaster: "reverb",
      key,
      wsHost: hostname,
      wsPort: port || 80,
      wssPort: port || 443,
      wsPath: path,
      forceTLS: protocol === "https:",
      // This server has no fallbacks over HTTP.
      enabledTransports: ["ws", "wss"],
      disableStats: true,
      // Django has no App.Events: an event is called what its class is called.
      namespace: false,
      authEndpoint,
      userAuthentication: { endpoint: userAuthEndpoint, headers: {} },
      csrfToken:
        document.querySelector('meta[name="csrf-token"]')?.content ??
        document.querySelector("input[name=csrfmiddlewaretoken]")?.value ??
        csrfToken ??
        null,
    };
  }

  // Echo sends its socket's id with requests of axios and jQuery; this does so with those of
  // htmx, 2 or 4. It is not sent to other sites.
  function sendSocketId() {
    const add = (address, headers) => {
      const id = window.Echo.socketId();
      const isOurs = new URL(address, document.baseURI).origin === window.location.origin;
      if (id && isOurs) headers["X-Socket-ID"] = id;
    };
    document.addEventListener("htmx:configRequest", ({ detail }) => add(detail.path, detail.headers));
    document.addEventListener("htmx:config:request", ({ detail }) => {
      add(detail.ctx.request.action, detail.ctx.request.headers);
    });
  }

  window.Echo = new window.Echo.default(options(document.currentScript.dataset));
  sendSocketId();
})();
