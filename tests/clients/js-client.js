// The JavaScript client of guest-sdk/js-client against a server that drops it:
// node js-client.js ws://ADDR
'use strict';

const { once } = require('node:events');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const WebSocket = require('ws');
const { argument, expect, run } = require('./checks.js');

const url = argument();
const file = path.join(__dirname, '../../guest-sdk/js-client/wharf-client.js');
const client = import(pathToFileURL(file));
let keys = 0;

/** A plain member that publishes, and reads what it published: then it is numbered. */
async function publisher(topic) {
  const socket = new WebSocket(`${url}/herald/publisher${keys}?join=${topic}&join=bytes`);
  await once(socket, 'open');
  return {
    async publish(text) {
      const echo = once(socket, 'message');
      socket.send(`shout ${topic} ${text}`);
      expect((await echo)[0].toString(), text, 'what was published');
    },
    close: () => socket.close(),
  };
}

/** A connection whose events can be awaited one by one. While its line is cut nothing answers it. */
async function keeper(topic) {
  const { Connection } = await client;
  keys += 1;
  const line = { isCut: false };
  const Cuttable = class extends WebSocket {
    constructor(address, protocols) {
      super(line.isCut ? 'ws://127.0.0.1:1/' : address, protocols);
    }
  };
  const connection = new Connection(`${url}/keeper/key${keys}?join=${topic}`, {
    WebSocket: Cuttable, retryFirstMs: 20, retryMaxMs: 100,
  });
  const events = [];
  const waiting = [];
  const put = (event) => (waiting.length ? waiting.shift()(event) : events.push(event));
  connection.onmessage = (from, data) => put(`${from}: ${data}`);
  connection.onlost = (from) => put(`lost ${from}`);
  const states = [];
  connection.onstate = (state) => states.push(state);
  const next = () => (events.length ? Promise.resolve(events.shift()) : new Promise((resolve) => waiting.push(resolve)));
  const placed = async () => {
    while (!connection.position(topic)) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  return { connection, next, states, placed, line };
}

/** Drops the connection from the server's side, and publishes while it is away. */
async function dropped(deed, missed) {
  const topic = `kept/${deed.replace(/\W/g, '-')}-${missed.length}`;
  const { connection, next, states, placed, line } = await keeper(topic);
  await placed();
  const { publish, close } = await publisher(topic);
  await publish('before');
  expect(await next(), `${topic}: before`, 'event');
  line.isCut = true;
  connection.send(deed);
  while (!states.includes('waiting')) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const text of missed) await publish(text);
  line.isCut = false;
  return { topic, connection, next, publish, close };
}

async function recovers(deed) {
  const missed = ['one', 'two "quoted"', 'three'];
  const { topic, connection, next, publish, close } = await dropped(deed, missed);
  for (const text of missed) expect(await next(), `${topic}: ${text}`, 'event');
  await publish('after');
  expect(await next(), `${topic}: after`, 'event');
  connection.close();
  close();
}

async function isTold() {
  const missed = ['1', '2', '3', '4', '5', '6'];
  const { topic, connection, next, publish, close } = await dropped('close 4000', missed);
  expect(await next(), `lost ${topic}`, 'event');
  await publish('after');
  expect(await next(), `${topic}: after`, 'event');
  connection.close();
  close();
}

async function bare() {
  const { connection, next, placed } = await keeper('kept/bare');
  await placed();
  connection.send('count kept/bare');
  expect(await next(), 'null: 1', 'event');
  connection.close();
}

run([
  ['the server closes: what was missed comes, then what is new', () => recovers('close 4000')],
  ['the handler traps: what was missed comes, then what is new', () => recovers('trap')],
  ['more was missed than is kept: it is told', isTold],
  ['what carries no position has no topic', bare],
  ['closed for good it stays closed', async () => {
    const { connection, states, placed } = await keeper('kept/closed');
    await placed();
    connection.close();
    while (states.at(-1) !== 'closed') await new Promise((resolve) => setTimeout(resolve, 5));
    expect(connection.send('x'), false, 'answer');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(states.join(' '), 'connecting open closed', 'states');
  }],
]);
