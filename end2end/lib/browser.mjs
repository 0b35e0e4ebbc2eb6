// One Chromium per journey file, with a profile of its own, and pages that collect what went wrong in them.

import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const PROGRAMS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

// Nothing that talks to the outside, and nothing that a machine without a screen lacks.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The sizes at which every page is looked at. */
export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** The path of an installed browser; null where there is none. */
export function browserProgram() {
  if (process.env.CHROME) return process.env.CHROME;
  const folders = (process.env.PATH ?? "").split(delimiter);
  const candidates = PROGRAMS.flatMap((name) => folders.map((folder) => join(folder, name)));
  candidates.push("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
  return candidates.find(isProgram) ?? null;
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A browser with a fresh profile: `visit` opens a page, `close` ends everything. */
export async function startBrowser() {
  const profile = mkdtempSync(join(tmpdir(), "tidemark-browser-"));
  const browser = await chromium.launch({
    executablePath: browserProgram(),
    headless: true,
    args: FLAGS,
    // Chromium keeps its caches and crash notes below these.
    env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
  });
  return {
    /**
     * Opens a page. `complaints` collects what the browser has to say, from then on: uncaught errors, and errors and
     * warnings of the console, failed requests among them.
     */
    async visit(url, { javaScript = true, colorScheme = "light", viewport = DESKTOP } = {}) {
      const context = await browser.newContext({ javaScriptEnabled: javaScript, colorScheme, viewport });
      const page = await context.newPage();
      const complaints = [];
      page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message}`));
      page.on("console", (message) => {
        if (!["error", "warning"].includes(message.type())) return;
        complaints.push(`${message.type()}: ${message.text()} (${message.location().url})`);
      });
      const response = await page.goto(url, { waitUntil: "load" });
      return { page, response, complaints };
    },
    async close() {
      await browser.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Waits until a visited page has come alive: its wasm runs, and Leptos has taken over the markup of the server. */
export async function hydrated({ page, complaints }) {
  try {
    await page.waitForSelector("html[data-hydrated]", { state: "attached", timeout: 15_000 });
  } catch {
    throw new Error(`the page did not come alive:\n${complaints.join("\n")}`);
  }
}
