// Two tabs of one Chromium chat on the demo's page, as a newcomer would:
//   node chat-two-tabs.js http://ADDR/ PICTURE.png
// The last state of the first tab is kept as a picture.
'use strict';

const { argument, expect, run } = require('./checks.js');
const { launch } = require('./chromium.js');

const url = argument();
const picture = process.argv[3];

/** A tab whose visitor has a name, and what went wrong in it. */
async function enter(context, name, address, problems) {
  const tab = await context.newPage();
  tab.on('pageerror', (error) => problems.push(`${name}: ${error.message}`));
  tab.on('console', (said) => {
    if (said.type() === 'error') problems.push(`${name}: ${said.text()}`);
  });
  await tab.goto(address);
  await connected(tab);
  await tab.getByLabel('Your name').fill(name);
  await tab.getByLabel('Your name').press('Enter');
  await notice(tab, `${name} joined`);
  await connected(tab);
  return tab;
}

const connected = (tab) => tab.getByRole('status').getByText('connected', { exact: true }).waitFor();
const notice = (tab, text) => tab.getByRole('log').getByText(text, { exact: true }).first().waitFor();
const people = (tab, text) => tab.getByText(text, { exact: true }).waitFor();

async function say(tab, text) {
  await tab.getByLabel('Message', { exact: true }).fill(text);
  await tab.getByRole('button', { name: 'Send' }).click();
}

/** Waits until the tab shows the text as said by that name. */
async function hears(tab, name, text) {
  const entry = tab.getByRole('log').getByRole('listitem').filter({ hasText: text });
  await entry.waitFor();
  expect((await entry.locator('p').innerText()).trim(), text, 'text');
  expect((await entry.locator('b').textContent()).trim(), name, 'name');
}

async function main() {
  const problems = [];
  const browser = await launch();
  const context = await browser.newContext({ viewport: { width: 720, height: 760 } });
  let ada;
  let bo;

  await run([
    ['the first tab connects', async () => {
      ada = await enter(context, 'Ada', url, problems);
      await people(ada, 'only you');
    }],
    ['the second tab connects, and both know of each other', async () => {
      bo = await enter(context, 'Bo', url, problems);
      await notice(ada, 'Bo joined');
      await people(ada, '2 people');
      await people(bo, '2 people');
    }],
    ['what the first says, both read', async () => {
      await say(ada, 'Ahoy! Is the harbour open?');
      await hears(bo, 'Ada', 'Ahoy! Is the harbour open?');
      await hears(ada, 'Ada', 'Ahoy! Is the harbour open?');
    }],
    ['the second answers', async () => {
      await say(bo, 'It is 🦀, all berths free, größer als gestern.');
      await hears(ada, 'Bo', 'It is 🦀, all berths free, größer als gestern.');
    }],
    ['markup stays text', async () => {
      await say(bo, '<b onclick="x">not bold</b>');
      await hears(ada, 'Bo', '<b onclick="x">not bold</b>');
    }],
    ['another room hears nothing of it', async () => {
      const quiet = await enter(context, 'Cy', `${url}#quiet`, problems);
      await people(quiet, 'only you');
      await say(ada, 'only for the lobby');
      await hears(bo, 'Ada', 'only for the lobby');
      await say(quiet, 'all calm here');
      await hears(quiet, 'Cy', 'all calm here');
      expect(await quiet.getByText('only for the lobby').count(), 0, 'messages of the lobby');
      await quiet.close();
    }],
    ['the first tab is told when the second leaves', async () => {
      await ada.screenshot({ path: picture });
      await bo.close();
      await notice(ada, 'Bo left');
      await people(ada, 'only you');
    }],
    ['no page reports an error', async () => {
      expect(problems.join('; '), '', 'errors');
    }],
  ], () => browser.close());
}

main().catch((error) => {
  console.log(`FAILED to start: ${error.message}`);
  process.exit(1);
});
