// The demo: it says what it is on every page, with and without a script, and one sees it move.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, hydrated, startBrowser } from "../lib/browser.mjs";
import { startServer } from "../lib/server.mjs";

const RESULTS = join(import.meta.dirname, "../results");

let browser;
let demo;
let empty;
before(async () => {
  mkdirSync(RESULTS, { recursive: true });
  [browser, demo, empty] = await Promise.all([
    startBrowser(),
    startServer({ command: "demo", arguments_: ["--speed", "10"] }),
    startServer(),
  ]);
});
after(async () => {
  await browser?.close();
  await Promise.all([demo?.stop(), empty?.stop()]);
});

test("a version reaches the nodes before one's eyes, on the same document", async () => {
  const visit = await browser.visit(`${demo.url}/`);
  await hydrated(visit);
  const { page, complaints } = visit;
  await page.evaluate(() => (window.sameDocument = true));
  const heads = () => page.locator("#cps ~ * tbody, .section tbody").first().innerText();
  const before = await heads();
  await page.waitForFunction(
    (before) => document.querySelector(".section tbody")?.innerText !== before,
    before,
    { timeout: 30_000 },
  );
  assert.equal(await page.evaluate(() => window.sameDocument), true, "nothing was loaded anew");
  const banner = page.locator(".demo summary");
  assert.match(await banner.innerText(), /simulated/);
  await banner.click();
  assert.match(await page.locator(".demo details").innerText(), /tidemark serve.*curl http/s);
  assert.deepEqual(complaints, []);
  await page.context().close();
});

test("a week lies behind it", async () => {
  const days = [1, 3, 6].map((days) => new Date(Date.now() - days * 86_400_000).toISOString());
  for (const at of days) {
    const { page } = await browser.visit(`${demo.url}/?at=${at}`, { javaScript: false });
    const counts = await page.locator(".counters__n").allInnerTexts();
    assert.equal(counts.map(Number).reduce((sum, count) => sum + count, 0), 240, at);
    assert.match(await page.locator(".demo").innerText(), /simulated/);
    await page.context().close();
  }
});

test("on a phone the banner is one line, and covers nothing at the end of a page", async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      const { page } = await browser.visit(`${demo.url}/`, { colorScheme, viewport, javaScript: false });
      await page.screenshot({ path: join(RESULTS, `demo-${colorScheme}-${size}.png`) });
      const { height } = await page.locator(".demo").boundingBox();
      assert.ok(height < 48, `${height} px high`);
      await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
      const covered = await page.evaluate(() => {
        const bottom = (selector) => document.querySelector(selector).getBoundingClientRect().bottom;
        return bottom("main") - document.querySelector(".demo").getBoundingClientRect().top;
      });
      assert.ok(covered <= 0, `${covered} px of the page are covered`);
      await page.context().close();
    }
  }
});

test("the first page of an empty fleet goes away when the first node is there", async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      const { page } = await browser.visit(`${empty.url}/`, { colorScheme, viewport });
      await page.screenshot({ path: join(RESULTS, `empty-${colorScheme}-${size}.png`), fullPage: true });
      await page.context().close();
    }
  }
  const visit = await browser.visit(`${empty.url}/`);
  await hydrated(visit);
  const { page, complaints } = visit;
  assert.match(await page.locator("main").innerText(), new RegExp(`curl ${empty.url}/api/v1/heartbeats`));
  await page.locator(".asof", { hasText: "Live" }).waitFor();
  await empty.report({ control_plane: "eu-prod", node_id: "gw-1", gateway_version: "3.9.1", hash: "a".repeat(32) });
  await page.locator(".counters").waitFor();
  assert.doesNotMatch(await page.locator("main").innerText(), /curl/);
  assert.deepEqual(complaints, []);
});
