// npm's `ws` against the echo handler: node ws-echo.js ws://ADDR/echo
'use strict';

const { once } = require('node:events');
const { randomBytes } = require('node:crypto');
const WebSocket = require('ws');
const { TEXTS, BINARIES, argument, expect, expectBytes, run } = require('./checks.js');

const url = argument();

async function open(options) {
  const socket = new WebSocket(url, options);
  socket.binaryType = 'nodebuffer';
  await once(socket, 'open');
  return socket;
}

/** Sends and waits for one message. */
async function echo(socket, send) {
  const message = once(socket, 'message');
  send(socket);
  const [payload, isBinary] = await message;
  return { payload, isBinary };
}

async function closed(socket, code, reason) {
  const close = once(socket, 'close');
  socket.close(code, reason);
  const [cameBack, why] = await close;
  return { code: cameBack, reason: why.toString() };
}

async function text(wanted, options) {
  const socket = await open(options);
  const { payload, isBinary } = await echo(socket, () => socket.send(wanted));
  expect(isBinary, false, 'kind');
  expect(payload.toString(), wanted, 'payload');
  socket.close();
}

async function binary(wanted, options) {
  const socket = await open(options);
  const { payload, isBinary } = await echo(socket, () => socket.send(wanted));
  expect(isBinary, true, 'kind');
  expectBytes(payload, wanted, 'payload');
  socket.close();
}

async function fragmentedText() {
  const socket = await open();
  const parts = ['one ', '', 'two 🦀 ', 'three'];
  const { payload, isBinary } = await echo(socket, () => {
    parts.forEach((part, index) => {
      socket.send(part, { fin: index === parts.length - 1, binary: false });
      socket.ping(); // A control frame between fragments is allowed.
    });
  });
  expect(isBinary, false, 'kind');
  expect(payload.toString(), parts.join(''), 'payload');
  socket.close();
}

async function fragmentedBinary() {
  const socket = await open();
  const wanted = randomBytes(100_000);
  const { payload } = await echo(socket, () => {
    for (let at = 0; at < wanted.length; at += 7_000) {
      socket.send(wanted.subarray(at, at + 7_000), { fin: at + 7_000 >= wanted.length });
    }
  });
  expectBytes(payload, wanted, 'payload');
  socket.close();
}

async function order() {
  const socket = await open();
  const count = 500;
  let next = 0;
  const all = new Promise((resolve, reject) => {
    socket.on('message', (payload) => {
      if (payload.toString() !== `message ${next}`) reject(new Error(`${payload} where message ${next} was due`));
      next += 1;
      if (next === count) resolve();
    });
  });
  for (let index = 0; index < count; index += 1) socket.send(`message ${index}`);
  await all;
  socket.close();
}

async function pong() {
  const socket = await open();
  const answer = once(socket, 'pong');
  socket.ping('are you there');
  expect((await answer)[0].toString(), 'are you there', 'payload of the pong');
  socket.close();
}

run([
  ...Object.entries(TEXTS).map(([name, wanted]) => [name, () => text(wanted)]),
  ...Object.entries(BINARIES).map(([name, wanted]) => [name, () => binary(wanted)]),
  ['text of 200 KiB, no extension offered', () => text(TEXTS['text of 200 KiB'], { perMessageDeflate: false })],
  ['deflate is negotiated', async () => {
    const socket = await open();
    expect(socket.extensions.split(';')[0], 'permessage-deflate', 'extension');
    socket.close();
  }],
  ['deflate without context takeover, small windows', () => text(TEXTS['text of 200 KiB'], {
    perMessageDeflate: {
      serverNoContextTakeover: true,
      clientNoContextTakeover: true,
      serverMaxWindowBits: 10,
      clientMaxWindowBits: 10,
      threshold: 0,
    },
  })],
  ['fragmented text with pings between', fragmentedText],
  ['fragmented binary', fragmentedBinary],
  ['500 messages in order', order],
  ['a ping is answered', pong],
  ['close with a code comes back', async () => {
    const { code, reason } = await closed(await open(), 4001, 'enough');
    expect(code, 4001, 'code');
    expect(reason === '' || reason === 'enough', true, 'reason is ours or none');
  }],
  ['close without a code comes back empty', async () => {
    expect((await closed(await open())).code, 1005, 'code');
  }],
  ['a message over the limit is refused with 1009', async () => {
    const socket = await open();
    const close = once(socket, 'close');
    socket.on('error', () => {});
    socket.send(Buffer.alloc(1_048_577));
    expect((await close)[0], 1009, 'code');
  }],
]);
