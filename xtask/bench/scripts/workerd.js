// A plain worker: each request, so each WebSocket, has its own context. One
// context may not write to the socket of another: there is no fan-out.

export default {
  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    // Newer compatibility dates deliver Blobs.
    server.binaryType = 'arraybuffer';
    server.addEventListener('message', (event) => server.send(event.data));
    server.addEventListener('close', (event) => server.close(event.code));
    return new Response(null, { status: 101, webSocket: client });
  },
};
