// Starts the installed Chromium, headless, through playwright-core, which
// downloads nothing. CHROMIUM names the program.
'use strict';

const { chromium } = require('playwright-core');

const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    args: QUIET,
    timeout: 60_000,
  });
}

module.exports = { launch };
