// Bun's own server: `/` echoes, what comes in on `/fan-out` goes to all
// connections there. `--deflate` and `--tls CERT KEY` as for ws.js.

const given = process.argv.slice(2);
const deflate = given.includes('--deflate');
const tls = given.indexOf('--tls');
const TOPIC = 'all';

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  tls:
    tls < 0
      ? undefined
      : { cert: Bun.file(given[tls + 1]), key: Bun.file(given[tls + 2]) },
  fetch(request, server) {
    const fansOut = new URL(request.url).pathname === '/fan-out';
    if (server.upgrade(request, { data: { fansOut } })) return undefined;
    return new Response('a WebSocket is served here', { status: 426 });
  },
  websocket: {
    perMessageDeflate: deflate,
    maxPayloadLength: 16 * 1024 * 1024,
    backpressureLimit: 16 * 1024 * 1024,
    publishToSelf: true,
    open(socket) {
      if (socket.data.fansOut) socket.subscribe(TOPIC);
    },
    message(socket, message) {
      if (socket.data.fansOut) server.publish(TOPIC, message, deflate);
      else socket.send(message, deflate);
    },
  },
});
console.log(`listening on 127.0.0.1:${server.port}`);
