// The pages without a script: forms and links do everything.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { startBrowser } from "../lib/browser.mjs";
import { startServer } from "../lib/server.mjs";
import { heard, settle } from "./fleet.mjs";

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

const plain = (path) => browser.visit(`${server.url}${path}`, { javaScript: false });

test("from the sentence to the version: a counter, a node, what it should run", async () => {
  const { page } = await plain("/");
  const counter = page.locator(".counters a", { hasText: "Blocked" });
  const counted = Number(await counter.locator(".counters__n").textContent());
  await counter.click();
  await page.waitForURL(/\/nodes\?q=counter:blocked/);
  assert.equal(await page.locator(".grid tbody tr").count(), counted, "a number leads to what it counts");

  await page.getByRole("link", { name: "gw-4" }).click();
  await page.waitForURL(/\/nodes\/eu-prod\/gw-4/);
  const words = await page.locator("main").innerText();
  for (const word of ["rejected", "schema violation", "route orders", "What we cannot know"]) {
    assert.ok(words.includes(word), `${word} is not on the page:\n${words}`);
  }

  await page.locator(".equal__both a", { hasText: "v2" }).first().click();
  await page.waitForURL(/\/versions\/eu-prod\/2/);
  assert.match(await page.locator("h1").innerText(), /eu-prod v2/);
});

test("the form in the header finds nodes, and the list's own form narrows them", async () => {
  const { page } = await plain("/");
  await page.getByPlaceholder("Find nodes").fill("gw-");
  await page.getByPlaceholder("Find nodes").press("Enter");
  await page.waitForURL(/\/nodes\?q=gw-/);
  assert.equal(await page.locator(".grid tbody tr").count(), 5);

  await page.locator("#question").fill("gw- state:rejected");
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL(/state/);
  assert.deepEqual(await page.locator(".grid tbody th").allInnerTexts(), ["gw-4"]);
});

test("a moment stays in every link, and one link leads back to now", async () => {
  const { page } = await plain(`/?at=${new Date().toISOString()}`);
  assert.match(await page.locator(".strip").innerText(), /Looking at/);
  await page.getByRole("link", { name: "Nodes", exact: true }).click();
  await page.waitForURL(/\/nodes\?at=/);
  await page.getByRole("link", { name: "Back to now" }).click();
  await page.waitForURL((url) => url.search === "");
});

test("what is not there and what cannot be asked have their own status", async () => {
  for (const [path, status] of [["/nodes/eu-prod/nobody", 404], ["/versions/nowhere", 404], ["/elsewhere", 404], ["/?at=then", 400]]) {
    const { page, response } = await plain(path);
    assert.equal(response.status(), status, path);
    assert.equal(await page.locator("h1").count(), 1, path);
  }
});
