// The pages with WebAssembly: they come alive without a complaint, follow the fleet by themselves, and go back.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { hydrated, startBrowser } from "../lib/browser.mjs";
import { startServer } from "../lib/server.mjs";
import { HEAD, heard, report, settle } from "./fleet.mjs";

let browser;
let server;
before(async () => {
  [browser, server] = await Promise.all([startBrowser(), startServer()]);
  await settle(server);
});
beforeEach(() => heard(server));
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function alive(path, options) {
  const visit = await browser.visit(`${server.url}${path}`, options);
  await hydrated(visit);
  return visit;
}

const PAGES = ["/", "/nodes", "/nodes?q=state:rejected", "/nodes/eu-prod/gw-4", "/versions", "/versions/eu-prod", "/versions/eu-prod/2"];

for (const path of PAGES) {
  test(`${path} comes alive without a complaint`, async () => {
    const visit = await alive(path);
    assert.deepEqual(visit.complaints, []);
    assert.equal(await visit.page.locator("h1").count(), 1);
    await visit.page.context().close();
  });
}

test("a counter follows the fleet, on the same document", async () => {
  const { page, complaints } = await alive("/");
  await page.evaluate(() => (window.sameDocument = true));
  const counted = page.locator(".counters li", { hasText: "Current" }).locator(".counters__n");
  const before = Number(await counted.textContent());
  await server.report(report("gw-6", { hash: HEAD }));
  await page.waitForFunction(
    ([selector, expected]) => [...document.querySelectorAll(selector)].at(-1)?.textContent === expected,
    [".counters__n", String(before + 1)],
  );
  assert.equal(await page.evaluate(() => window.sameDocument), true, "nothing was loaded anew");
  assert.deepEqual(complaints, []);
});

test("links, the form and Back stay on one document, and each shows its own answer", async () => {
  const { page, complaints } = await alive("/");
  await page.evaluate(() => (window.sameDocument = true));
  await page.locator(".counters a", { hasText: "Blocked" }).click();
  await page.waitForURL(/counter:blocked/);
  await page.getByRole("link", { name: "gw-4" }).click();
  await page.locator("h1", { hasText: "gw-4" }).waitFor();
  await page.getByPlaceholder("Find nodes").fill("gw-1");
  await page.getByPlaceholder("Find nodes").press("Enter");
  await page.waitForURL(/\/nodes\?q=gw-1/);
  await page.locator(".grid tbody tr").first().waitFor();
  assert.deepEqual(await page.locator(".grid tbody th").allInnerTexts(), ["gw-1"]);
  await page.goBack();
  await page.locator("h1", { hasText: "gw-4" }).waitFor();
  await page.goBack();
  await page.waitForURL(/counter:blocked/);
  await page.locator("#question").waitFor();
  assert.equal(await page.locator("#question").inputValue(), "counter:blocked");
  assert.equal(await page.evaluate(() => window.sameDocument), true, "nothing was loaded anew");
  assert.deepEqual(complaints, []);
});

test("a view of the past does not move", async () => {
  const { page } = await alive(`/?at=${new Date().toISOString()}`);
  const before = await page.locator("main").innerText();
  await server.report(report("gw-7", { hash: HEAD }));
  // Longer than a page that listens would take to hear of it.
  await page.waitForTimeout(1_500);
  assert.equal(await page.locator("main").innerText(), before);
});

test("a chosen theme stays chosen", async () => {
  const { page } = await alive("/", { colorScheme: "light" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole("button", { name: "Dark" }).click();
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await ground(), dark);
  assert.equal(await page.getByRole("button", { name: "Dark" }).getAttribute("aria-pressed"), "true");
});

test("when the server goes, the last answer stays and says of when it is", async () => {
  const own = await startServer();
  await settle(own);
  const visit = await browser.visit(`${own.url}/`);
  await hydrated(visit);
  const { page } = visit;
  await page.locator(".asof", { hasText: "Live" }).waitFor();
  await own.stop();
  await page.locator(".strip--stale").waitFor();
  assert.match(await page.locator(".strip--stale").innerText(), /Reconnecting\..*What you see is of/s);
  assert.equal(await page.locator(".counters li").count(), 5);
});
