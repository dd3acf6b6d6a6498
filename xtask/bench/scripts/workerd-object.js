// All WebSockets in one Durable Object, by the API that lets it hibernate.
// `/` echoes, what comes in on `/fan-out` goes to all connections there.

const FAN_OUT = 'fan-out';

export class Echo {
  constructor(state) {
    this.state = state;
  }

  fetch(request) {
    const [client, server] = Object.values(new WebSocketPair());
    const fansOut = new URL(request.url).pathname === '/fan-out';
    this.state.acceptWebSocket(server, fansOut ? [FAN_OUT] : []);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, message) {
    if (this.state.getTags(socket).length === 0) {
      socket.send(message);
      return;
    }
    for (const other of this.state.getWebSockets(FAN_OUT)) other.send(message);
  }

  webSocketClose(socket, code) {
    socket.close(code);
  }
}

export default {
  fetch(request, env) {
    return env.ECHO.get(env.ECHO.idFromName('the only one')).fetch(request);
  },
};
