// The list of rooms, to which new ones are added. Names are shown as text.
const rooms = document.querySelector("[data-rooms]");
const part = (name) => document.querySelector(`main [data-${name}]`);

new ConnectionPill(document.querySelector("[data-pill]"), Echo, {
  notice: (problem, values) => tell(part("notice"), problem, values),
});

Echo.channel("rooms").listen("RoomMade", ({ name }) => {
  const row = document.querySelector("main template").content.firstElementChild.cloneNode(true);
  row.querySelector("bdi").textContent = name;
  row.querySelector("a").href = `${rooms.dataset.url}${encodeURIComponent(name)}/`;
  rooms.prepend(row);
  part("empty").hidden = true;
  part("said").textContent = fill(part("said").dataset.text, { name });
});
