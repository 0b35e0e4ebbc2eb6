// The pages by keyboard, at every width and in both themes; `results/` has a picture of each.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, hydrated, startBrowser } from "../lib/browser.mjs";
import { startServer } from "../lib/server.mjs";
import { settle } from "./fleet.mjs";

const RESULTS = join(import.meta.dirname, "../results");
const SMALL = { width: 320, height: 640 };
const PAGES = {
  overview: "/",
  nodes: "/nodes",
  node: "/nodes/eu-prod/gw-4",
  ledgers: "/versions",
  ledger: "/versions/eu-prod",
  version: "/versions/eu-prod/2",
  missing: "/nodes/eu-prod/nobody",
};

let browser;
let server;
before(async () => {
  [browser, server] = await Promise.all([startBrowser(), startServer()]);
  await settle(server);
  mkdirSync(RESULTS, { recursive: true });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

for (const [name, path] of Object.entries(PAGES)) {
  test(`${name} is as wide as its window`, async () => {
    for (const colorScheme of ["light", "dark"]) {
      for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE, small: SMALL })) {
        const visit = await browser.visit(`${server.url}${path}`, { colorScheme, viewport });
        await hydrated(visit);
        const { page } = visit;
        await page.screenshot({ path: join(RESULTS, `${name}-${colorScheme}-${size}.png`), fullPage: true });
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${colorScheme} ${size}: ${overflow} px too wide`);
        await page.context().close();
      }
    }
  });
}

test("the keyboard gets past the header, and to the search", async () => {
  const { page } = await browser.visit(`${server.url}/`);
  const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent?.trim());
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to content", "the first stop leads past the header");
  await page.keyboard.press("Enter");
  assert.match(page.url(), /#main$/);

  await page.goto(`${server.url}/`);
  const stops = [];
  for (let stop = 0; stop < 8 && stops.at(-1) !== "find"; stop += 1) {
    await page.keyboard.press("Tab");
    stops.push(await focused());
  }
  assert.deepEqual(stops, ["Skip to content", "Tidemark", "Overview", "Nodes", "Versions", "Analytics", "API", "find"]);
});

test("a slash leads to the search, but not out of a field", async () => {
  const visit = await browser.visit(`${server.url}/nodes`);
  await hydrated(visit);
  const { page } = visit;
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "question");
  await page.keyboard.type("a/b");
  assert.equal(await page.locator("#question").inputValue(), "a/b");
});

test("what the pages are made of can be read aloud", async () => {
  for (const path of Object.values(PAGES)) {
    const { page } = await browser.visit(`${server.url}${path}`);
    const faults = await page.evaluate(() => {
      const all = (selector) => [...document.querySelectorAll(selector)];
      const named = (element) =>
        (element.getAttribute("aria-label") ?? element.textContent ?? "").trim() !== "" || element.labels?.length > 0;
      const ids = all("[id]").map((element) => element.id);
      const levels = all("h1, h2, h3").map((heading) => Number(heading.tagName[1]));
      return {
        unnamed: all("a, button, input:not([type=hidden]), summary").filter((element) => !named(element)).map((element) => element.outerHTML),
        doubled: ids.filter((id, index) => ids.indexOf(id) !== index),
        dangling: all("[aria-labelledby], [aria-describedby]").filter((element) =>
          [element.getAttribute("aria-labelledby"), element.getAttribute("aria-describedby")].some((id) => id && !document.getElementById(id)),
        ).length,
        mains: all("main").length,
        skipped: levels.some((level, index) => index > 0 && level > levels[index - 1] + 1),
        headless: all("th").filter((head) => !head.scope).length,
      };
    });
    assert.deepEqual(faults, { unnamed: [], doubled: [], dangling: 0, mains: 1, skipped: false, headless: 0 }, path);
    await page.context().close();
  }
});
