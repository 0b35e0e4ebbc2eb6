// Runs the browser journeys, all of them or those named on the command line: node end2end/run.mjs [journey…]
// Without a browser they are left out, in one line: a machine where nothing may be installed still runs the other tests.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { browserProgram } from "./lib/browser.mjs";

const here = import.meta.dirname;

if (browserProgram() === null) {
  console.log("browser tests: left out, there is no Chromium or Chrome (set CHROME to its path)");
  process.exit(0);
}

const wanted = process.argv.slice(2);
const journeys = readdirSync(join(here, "journeys"))
  .filter((name) => name.endsWith(".test.mjs"))
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .sort()
  .map((name) => join(here, "journeys", name));

// One at a time: each starts a server and a browser, and two cores are what we count on.
const { status } = spawnSync(process.execPath, ["--test", "--test-concurrency=1", "--test-reporter=spec", ...journeys], {
  stdio: "inherit",
});
process.exit(status ?? 1);
