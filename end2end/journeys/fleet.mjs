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
  const refused = { hash: OLD, apply_error: { message: "schema violation", entity: "route orders" } };
  await server.report(
    ...["gw-1", "gw-2", "gw-3"].map((node) => report(node, { hash: HEAD })),
    report("gw-4", refused),
    report("gw-5", { hash: hash("d") }),
  );
}
