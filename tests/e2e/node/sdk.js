// Calls Pusher's SDK for Node: {options, calls: [[method, ...arguments], ...]} on stdin, the
// outcomes on stdout. A call that fails has its error as outcome, so that tests can look at it.
const Pusher = require("pusher")

const METHODS = {
  // What the SDK would send, signed: the query and the path.
  signed: (pusher, request) => pusher.createSignedQueryString(request),
  webhook: (pusher, headers, rawBody) => {
    const webhook = pusher.webhook({ headers, rawBody })
    return { isValid: webhook.isValid(), events: webhook.isValid() ? webhook.getEvents() : null }
  },
}

async function call(pusher, [method, ...args]) {
  try {
    const value = await (METHODS[method] ?? ((_, ...rest) => pusher[method](...rest)))(pusher, ...args)
    const isResponse = typeof value?.text === "function"
    return isResponse ? { status: value.status, body: await value.text() } : value
  } catch (error) {
    return { error: error.message, status: error.status, body: error.body }
  }
}

async function main() {
  let text = ""
  for await (const chunk of process.stdin) text += chunk
  const { options, calls } = JSON.parse(text)
  const pusher = new Pusher(options)
  const outcomes = []
  for (const one of calls) outcomes.push(await call(pusher, one))
  process.stdout.write(JSON.stringify(outcomes))
}

main()
