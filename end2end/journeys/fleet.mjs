// A small fleet for journeys: one control plane that announced two versions, and nodes that stand differently to them.

const hash = (digit) => String(digit).repeat(32);

/** The versions' hashes. */
export const OLD = hash("a");
export const HEAD = hash("b");

async function tell(server, method, path, body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${server.url}${path}`, { method, headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
}

/** One report of a node of `eu-prod`. */
export function report(node, fields) {
  const labels = { region: "eu-west-1" };
  return { control_plane: "eu-prod", node_id: node, hostname: node, gateway_version: "3.9.1", labels, ...fields };
}

/** Announces both versions; three nodes run the head, one refused it, and one runs what nobody published. */
export async function settle(server) {
  const versions = "/api/v1/control-planes/eu-prod/versions";
  await tell(server, "POST", versions, { token: "release-1", hashes: [{ hash: OLD }], cause: "first" });
  await tell(server, "POST", versions, { token: "release-2", hashes: [{ hash: HEAD }], cause: "second" });
  await heard(server);
}

/** Every node says once more what it runs, so that none is late however slow the machine is; waits until all are heard. */
export async function heard(server) {
  const refused = { hash: OLD, apply_error: { message: "schema violation", entity: "route orders" } };
  await server.report(
    ...["gw-1", "gw-2", "gw-3"].map((node) => report(node, { hash: HEAD })),
    report("gw-4", refused),
    report("gw-5", { hash: hash("d") }),
  );
  // A report is answered when it is stored, and shown with the next answer.
  const deadline = Date.now() + 20_000;
  for (;;) {
    const list = await (await fetch(`${server.url}/api/v1/nodes?size=100`)).json();
    const connected = list.nodes.filter((node) => node.connection_state === "connected").map((node) => node.id);
    if (["gw-1", "gw-2", "gw-3", "gw-4", "gw-5"].every((node) => connected.includes(node))) return;
    if (Date.now() > deadline) throw new Error(`not all nodes are heard, but ${connected}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
