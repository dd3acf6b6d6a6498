// The npm package ws on Node.js: `/` echoes, what comes in on `/fan-out` goes
// to all connections there. `--deflate` offers permessage-deflate with its
// defaults, `--tls CERT KEY` speaks TLS.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { WebSocketServer } = require('ws');

const arguments_ = process.argv.slice(2);
const tls = arguments_.indexOf('--tls');
const server =
  tls < 0
    ? http.createServer()
    : https.createServer({
        cert: fs.readFileSync(arguments_[tls + 1]),
        key: fs.readFileSync(arguments_[tls + 2]),
      });
const sockets = new WebSocketServer({
  server,
  // Without a threshold even short messages are deflated, as by the others.
  perMessageDeflate: arguments_.includes('--deflate') ? { threshold: 0 } : false,
});
const all = new Set();

sockets.on('connection', (socket, request) => {
  // A connection that fails ends nothing else.
  socket.on('error', () => {});
  if (request.url === '/fan-out') {
    all.add(socket);
    socket.on('close', () => all.delete(socket));
    socket.on('message', (data, binary) => {
      for (const other of all) other.send(data, { binary });
    });
  } else {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
  }
});
server.listen(0, '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
