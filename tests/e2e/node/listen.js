// Subscribes with pusher-js, authorised by Pusher's SDK for Node: {options, client, channels} as
// the first argument. Prints one JSON line when all channels are joined, then one for each event.
const Pusher = require("pusher")
const PusherClient = require("pusher-js")

const { options, client, channels } = JSON.parse(process.argv[2])
const server = new Pusher(options)
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n")

const socket = new PusherClient(options.key, {
  ...client,
  channelAuthorization: {
    customHandler: ({ socketId, channelName }, callback) =>
      callback(null, server.authorizeChannel(socketId, channelName)),
  },
})
const joined = channels.map((name) => new Promise((resolve, reject) => {
  const channel = socket.subscribe(name)
  channel.bind("pusher:subscription_succeeded", resolve)
  channel.bind("pusher:subscription_error", reject)
  channel.bind_global((event, data) => {
    if (!event.startsWith("pusher:")) print({ channel: name, event, data })
  })
}))
Promise.all(joined).then(() => print({ socketId: socket.connection.socket_id }))
// The test ends the process by closing its input.
process.stdin.on("end", () => process.exit()).resume()
