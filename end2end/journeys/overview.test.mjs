// The overview: it loads, comes alive, and says nothing on the console, on the bundle that people get and on the one
// that explains itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hydrated, startBrowser } from "../lib/browser.mjs";
import { DEBUGINFO, RELEASE, startServer } from "../lib/server.mjs";

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
