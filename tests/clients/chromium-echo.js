// Chromium against the echo handler: node chromium-echo.js ws://ADDR/echo
// The server must serve a page on http://ADDR/: a WebSocket of another origin
// is refused, which is a check of its own here.
'use strict';

const { TEXTS, BINARIES, argument, expect, expectBytes, run } = require('./checks.js');
const { launch } = require('./chromium.js');

const url = argument();
const origin = `http://${new URL(url).host}/`;

/** Runs in the page: opens, sends, gives what came back and how it ended. */
async function talk({ url, sends, close }) {
  const socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  const received = [];
  const ended = new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
  });
  let opened = false;
  socket.onopen = () => {
    opened = true;
    for (const { text, bytes } of sends) socket.send(text ?? Uint8Array.from(bytes));
    if (sends.length === 0) socket.close(...close);
  };
  socket.onmessage = ({ data }) => {
    received.push(typeof data === 'string' ? { text: data } : { bytes: [...new Uint8Array(data)] });
    if (received.length === sends.length) socket.close(...close);
  };
  return { ...(await ended), received, opened, extensions: socket.extensions };
}

async function main() {
  const browser = await launch();
  const page = await browser.newPage();
  await page.goto(origin);
  const talking = (sends, close = [1000]) => page.evaluate(talk, { url, sends, close });

  await run([
    ...Object.entries(TEXTS).map(([name, text]) => [name, async () => {
      expect((await talking([{ text }])).received[0]?.text, text, 'payload');
    }]),
    ...Object.entries(BINARIES).map(([name, wanted]) => [name, async () => {
      const { received } = await talking([{ bytes: [...wanted] }]);
      expectBytes(received[0]?.bytes ?? [], wanted, 'payload');
    }]),
    ['deflate is negotiated', async () => {
      expect((await talking([])).extensions.split(';')[0], 'permessage-deflate', 'extension');
    }],
    ['500 messages in order', async () => {
      const sends = Array.from({ length: 500 }, (_, index) => ({ text: `message ${index}` }));
      expect(JSON.stringify((await talking(sends)).received), JSON.stringify(sends), 'messages');
    }],
    ['close with a code comes back clean', async () => {
      const { code, wasClean } = await talking([], [4001, 'enough']);
      expect(code, 4001, 'code');
      expect(wasClean, true, 'clean');
    }],
    ['close without a code comes back empty and clean', async () => {
      const { code, wasClean } = await talking([], []);
      expect(code, 1005, 'code');
      expect(wasClean, true, 'clean');
    }],
    ['a page of another origin is refused', async () => {
      const stranger = await browser.newPage();
      await stranger.goto(origin.replace('127.0.0.1', 'localhost'));
      const { opened, code } = await stranger.evaluate(talk, { url, sends: [], close: [] });
      expect(opened, false, 'opened');
      expect(code, 1006, 'code');
    }],
  ], () => browser.close());
}

main().catch((error) => {
  console.log(`FAILED to start: ${error.message}`);
  process.exit(1);
});
