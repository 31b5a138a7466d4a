// Socket.IO as its documents show it: socketio_server.js PORT.
const { createServer } = require("node:http");
const { createRequire } = require("node:module");
const { join } = require("node:path");
const process = require("node:process");

// The packages are in the directory that it is started in.
const { Server } = createRequire(join(process.cwd(), "index.js"))("socket.io");

const server = createServer();
const io = new Server(server, { perMessageDeflate: false });
io.on("connection", (socket) => {
  socket.on("join", (room) => {
    socket.join(room);
    socket.emit("joined");
  });
  socket.on("publish", (data) => {
    io.to("bench").emit("bench", { channel: "bench", data });
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
