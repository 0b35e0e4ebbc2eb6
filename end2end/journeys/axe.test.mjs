// What axe finds on the pages: nothing, in both themes, on a desk and on a phone, with everything open that opens.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, hydrated, startBrowser } from "../lib/browser.mjs";
import { startServer } from "../lib/server.mjs";

const TROUBLES = join(import.meta.dirname, "troubles.toml");
const SOURCES = join(import.meta.dirname, "sources.toml");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// A demo of a story of its own: nodes in every kind of trouble, and a ledger for each control plane.
const FLEET = {
  overview: "/",
  nodes: "/nodes",
  "a part of the nodes": "/nodes?q=cp:eu-prod+state:behind",
  "a question that is not understood": "/nodes?q=behind:%3Ex+colour:red",
  "a question without an answer": "/nodes?q=nobody",
  "a node that is behind": "/nodes?q=state:behind",
  "a node that refuses": "/nodes?q=state:rejected",
  "a node that is kept from it": "/nodes?q=state:incompatible",
  "a node that is not heard": "/nodes?q=counter:not_heard",
  ledgers: "/versions",
  ledger: "/versions/eu-prod",
  version: "/versions/eu-prod/2",
  analytics: "/analytics?range=24h",
  "analytics, narrowed": "/analytics?range=7d&by=status&route=orders-v1&cp=eu-prod",
  usage: "/usage",
  "analytics without an answer": "/analytics?cp=nobody",
  "what is not there": "/nodes/eu-prod/nobody",
  "what cannot be asked": "/?at=then",
  past: "/?at=PAST",
  interface: "/api",
};

let browser;
let fleet;
let empty;
before(async () => {
  [browser, fleet, empty] = await Promise.all([
    startBrowser(),
    startServer({ command: "demo", arguments_: ["--scenario", TROUBLES, "--speed", "10"] }),
    startServer({ arguments_: ["--config", SOURCES] }),
  ]);
  await told(fleet);
});
after(async () => {
  await browser?.close();
  await Promise.all([fleet?.stop(), empty?.stop()]);
});

/** Waits until the story has begun: then there are nodes of each kind. */
async function told(server) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const { counters, config_states: states } = await (await fetch(`${server.url}/api/v1/fleet`)).json();
    if (counters.not_heard > 0 && ["behind", "rejected", "incompatible"].every((state) => states[state] > 0)) return;
    if (Date.now() > deadline) throw new Error(`the fleet is not there, but ${JSON.stringify(states)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Each violation in a line: how bad, which rule, where. */
async function violations(page) {
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.flatMap(({ id, impact, nodes }) =>
    nodes.map(({ target, html, any }) => `${impact} ${id}: ${target.join(" ")} ${html} ${any[0]?.message ?? ""}`),
  );
}

async function check(url, { first = false, lives = true } = {}) {
  const visit = await browser.visit(url);
  const { page } = visit;
  if (first) {
    await Promise.all([page.waitForURL(/\/nodes\/.+\/.+/), page.locator(".grid tbody th a").first().click()]);
    await page.locator(".axes").waitFor();
  }
  if (lives) await hydrated(visit);
  await page.evaluate(AXE);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      await page.setViewportSize(viewport);
      await page.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
      assert.deepEqual(await violations(page), [], `${colorScheme}, ${size}`);
    }
  }
  await page.context().close();
}

for (const [name, path] of Object.entries(FLEET)) {
  test(`axe finds nothing: ${name}`, async () => {
    const at = new Date(Date.now() - 60_000).toISOString();
    await check(fleet.url + path.replace("PAST", at), { first: name.startsWith("a node"), lives: path !== "/api" });
  });
}

test("axe finds nothing: an overview without nodes", () => check(`${empty.url}/`));

test("axe finds nothing: operations", () => check(`${empty.url}/operations`, { lives: false }));
test("axe finds nothing: operations without a source", () => check(`${fleet.url}/operations`, { lives: false }));

test("axe finds what is there to be found", async () => {
  const { page } = await browser.visit(`${empty.url}/`);
  await page.evaluate(AXE);
  await page.evaluate(() => {
    const pale = document.createElement("p");
    pale.textContent = "pale";
    pale.style.color = "var(--line)";
    document.querySelector("main").append(document.createElement("button"), pale);
  });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const found = (await violations(page)).map((line) => line.split(":")[0]).sort();
    assert.deepEqual(found, ["critical button-name", "serious color-contrast"], colorScheme);
  }
  await page.context().close();
});
