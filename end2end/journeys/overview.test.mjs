// The overview: it loads, comes alive, and says nothing on the console, on the bundle that people get and on the one
// that explains itself; and it can be looked at in both themes and sizes.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, hydrated, startBrowser } from "../lib/browser.mjs";
import { DEBUGINFO, RELEASE, startServer } from "../lib/server.mjs";

const RESULTS = join(import.meta.dirname, "../results");

let browser;
before(async () => {
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
});

for (const bundle of [DEBUGINFO, RELEASE]) {
  test(`the overview comes alive without a complaint (${bundle})`, async () => {
    const server = await startServer({ bundle });
    try {
      const visit = await browser.visit(`${server.url}/`);
      assert.equal(visit.response.status(), 200);
      await hydrated(visit);
      assert.deepEqual(visit.complaints, []);
      assert.equal(await visit.page.locator("h1").count(), 1, "a page has one heading of the first rank");
    } finally {
      assert.equal(await server.stop(), 0, "the server ends well");
    }
  });
}

test("the overview can be looked at in both themes and sizes", async () => {
  const server = await startServer();
  mkdirSync(RESULTS, { recursive: true });
  try {
    for (const colorScheme of ["light", "dark"]) {
      for (const [name, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
        const visit = await browser.visit(`${server.url}/`, { colorScheme, viewport });
        await hydrated(visit);
        const { page } = visit;
        await page.screenshot({ path: join(RESULTS, `overview-${colorScheme}-${name}.png`) });
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${colorScheme} ${name}: ${overflow} px too wide`);
      }
    }
  } finally {
    await server.stop();
  }
});
