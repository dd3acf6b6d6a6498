// What both JavaScript clients check: a list of named checks, one line of
// output each, and an exit code. A check that does not end within its time
// has failed; the process never outlives its deadline.
'use strict';

const CHECK_MS_MAX = 20_000;
const RUN_MS_MAX = 120_000;

const TEXTS = {
  text: 'hello',
  'empty text': '',
  'unicode text': 'Grüße, 世界, 🦀 and \u0000 and e\u0301',
  'text of 200 KiB': 'wharf 🦀 '.repeat(20_480),
};

const BINARIES = {
  binary: Uint8Array.from({ length: 256 }, (_, index) => index),
  'empty binary': new Uint8Array(0),
  'binary of 200 KiB': Uint8Array.from({ length: 204_800 }, (_, index) => (index * 31) % 251),
};

function expect(actual, wanted, what) {
  if (actual !== wanted) {
    const shown = (value) => JSON.stringify(value)?.slice(0, 80);
    throw new Error(`${what}: ${shown(actual)} where ${shown(wanted)} was right`);
  }
}

function expectBytes(actual, wanted, what) {
  if (Buffer.compare(Buffer.from(actual), Buffer.from(wanted)) !== 0) {
    throw new Error(`${what}: other bytes came back (${actual.length} of ${wanted.length})`);
  }
}

/** Runs `[name, async function]` pairs in order and ends the process. */
async function run(checks, cleanUp = async () => {}) {
  setTimeout(() => {
    console.log(`FAILED the whole run: not over after ${RUN_MS_MAX} ms`);
    process.exit(1);
  }, RUN_MS_MAX).unref();
  let failed = 0;
  for (const [name, check] of checks) {
    try {
      await within(CHECK_MS_MAX, check());
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}: ${error.message}`);
    }
  }
  await cleanUp();
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing after ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The one argument: where the echo handler answers. */
function argument() {
  const url = process.argv[2];
  if (!url) {
    console.error(`usage: node ${process.argv[1]} URL`);
    process.exit(2);
  }
  return url;
}

module.exports = { TEXTS, BINARIES, argument, expect, expectBytes, run };
