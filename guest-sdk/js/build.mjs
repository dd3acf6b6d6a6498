#!/usr/bin/env node
// Makes a component of a handler in JavaScript:
//
//     node build.mjs APP.js --tool PATH/TO/componentize-qjs -o APP.wasm
//
// The world is the one in `world.wit` beside the script, or `websocket-handler`. The script may
// import the modules of this folder as "wharf-guest/NAME.js", and others by relative paths.
//
// componentize-qjs 0.4 takes away every import that begins with `wasi:`, those of the world too.
// So the contract's packages are called `wazi:` while it works, and get their names back in the
// component's list of imports, the only place where the host reads them.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const [REAL, OURS] = ["wasi:", "wazi:"];
/** The section of a component that lists imports (Binary.md of the component model). */
const IMPORTS = 10;
const here = dirname(fileURLToPath(import.meta.url));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    output: { type: "string", short: "o" },
    tool: { type: "string", default: "componentize-qjs" },
    wit: { type: "string", default: resolve(here, "../../wit") },
  },
});
if (positionals.length !== 1 || !values.output) {
  console.error("usage: build.mjs APP.js -o APP.wasm [--tool PATH/TO/componentize-qjs] [--wit FOLDER]");
  process.exit(2);
}

const entry = resolve(positionals[0]);
const stage = mkdtempSync(join(tmpdir(), "wharf-js-"));
try {
  const world = contract(join(stage, "wit"));
  const app = join(stage, "app");
  const wanted = (path) => !/node_modules|\.wasm$/.test(path.slice(dirname(entry).length));
  cpSync(dirname(entry), app, { recursive: true, filter: wanted });
  cpSync(here, join(app, "node_modules/wharf-guest"), { recursive: true });
  const component = join(stage, "component.wasm");
  const options = ["--wit", join(stage, "wit"), "-n", world, "--js", join(app, basename(entry))];
  const more = ["--module-root", app, "--sync", "--stub-wasi", "-o", component];
  const { status, error } = spawnSync(values.tool, [...options, ...more], { stdio: "inherit" });
  if (error) throw new Error(`${values.tool} could not be started: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
  writeFileSync(values.output, named(readFileSync(component)));
} finally {
  rmSync(stage, { recursive: true, force: true });
}

/** Writes the contract, with the script's own world if it has one; returns the world's name. */
function contract(folder) {
  const own = join(dirname(entry), "world.wit");
  if (!existsSync(own)) {
    cpSync(values.wit, folder, { recursive: true });
    renamed(folder);
    return "websocket-handler";
  }
  const text = readFileSync(own, "utf8");
  const name = /^\s*world\s+([a-z0-9-]+)/m.exec(text)?.[1];
  if (!name) throw new Error(`${own} has no world`);
  const isPackage = (path) => !path.slice(values.wit.length).startsWith("/deps");
  cpSync(values.wit, join(folder, "deps/websocket"), { recursive: true, filter: isPackage });
  cpSync(join(values.wit, "deps"), join(folder, "deps"), { recursive: true });
  writeFileSync(join(folder, "world.wit"), text);
  renamed(folder);
  return name;
}

function renamed(folder) {
  for (const file of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, file.name);
    if (file.isDirectory()) renamed(path);
    else writeFileSync(path, readFileSync(path, "utf8").replaceAll(REAL, OURS));
  }
}

/** Gives the imports their names back. Both have the same length, so nothing moves. */
function named(bytes) {
  let at = 8;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const id = bytes[at++];
    const size = number();
    const section = bytes.subarray(at, at + size);
    at += size;
    if (id !== IMPORTS) continue;
    for (let place = section.indexOf(OURS); place >= 0; place = section.indexOf(OURS, place)) {
      section.write(REAL, place);
    }
  }
  return bytes;
}
