// A Tidemark of its own for a journey: the built program on a free port, over a database that goes away afterwards.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../..");
const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target");
// A demo writes a week down first, with what was built for tests.
const START_MAY_TAKE_MS = 60_000;

/** The bundles a journey can run on. The first says what a hydration error is; the second is what people get. */
export const DEBUGINFO = "site-debuginfo";
export const RELEASE = "site";

/**
 * Starts the server. What it prints goes into `output`, and comes with every failure to start.
 * `command` may be `demo`; `arguments_` are added to it, and `environment` to ours.
 */
export async function startServer({ bundle = DEBUGINFO, command = "serve", arguments_ = [], environment = {} } = {}) {
  const program = join(TARGET, "debug/tidemark");
  if (!existsSync(program)) throw new Error(`${program} is not built: run \`make test\` or \`cargo build\``);
  const site = join(TARGET, bundle);
  if (!existsSync(join(site, "manifest.json"))) throw new Error(`${site} is not built: run \`make browser-tests\``);

  const folder = mkdtempSync(join(tmpdir(), "tidemark-journey-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = spawn(
    program,
    [command, "--listen", `127.0.0.1:${port}`, "--database", join(folder, "tidemark.db"), ...arguments_],
    { env: { ...process.env, TIDEMARK_SITE_DIR: site, ...environment }, stdio: ["ignore", "pipe", "pipe"] },
  );
  const output = [];
  for (const stream of [server.stdout, server.stderr]) stream.on("data", (chunk) => output.push(chunk.toString()));
  const ended = new Promise((done) => server.once("exit", (code, signal) => done(code ?? signal)));

  const running = {
    url,
    output,
    /** Sends reports through the front door, and fails where the server does not take each of them. */
    async report(...reports) {
      const response = await fetch(`${url}/api/v1/heartbeats`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(reports),
      });
      const text = await response.text();
      const answer = response.ok ? JSON.parse(text) : null;
      if (answer === null || answer.refused.length > 0) throw new Error(`reports refused: ${response.status} ${text}`);
      return answer;
    },
    /** Ends the server the way a supervisor does; answers its exit code. */
    async stop() {
      server.kill("SIGTERM");
      const code = await ended;
      rmSync(folder, { recursive: true, force: true });
      return code;
    },
  };

  let code = null;
  ended.then((ending) => (code = ending));
  const deadline = Date.now() + START_MAY_TAKE_MS;
  while (!(await isReady(url))) {
    if (code === null && Date.now() < deadline) {
      await new Promise((wake) => setTimeout(wake, 50));
      continue;
    }
    const why = code === null ? "is not ready in time" : `ended with ${code}`;
    if (code === null) await running.stop();
    throw new Error(`the server ${why}:\n${output.join("")}`);
  }
  return running;
}

async function isReady(url) {
  try {
    return (await fetch(`${url}/readyz`)).ok;
  } catch {
    return false;
  }
}

function freePort() {
  return new Promise((done, failed) => {
    const probe = createServer();
    probe.once("error", failed);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}
