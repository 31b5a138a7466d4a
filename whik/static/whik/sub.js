const pane = new LivePane(document.querySelector("[data-pane]"));
new ConnectionPill(document.querySelector("[data-pill]"), Echo, pane);

// shown
Echo.channel('whik').listen('NewUserCreated', (e) => {
  pane.add('NewUserCreated', e);
});
// end

Echo.channel("whik").error(({ error }) => pane.notice("channel", { why: error }));
makeUsers(document.querySelector("[data-make]"), Echo, pane);
