#!/usr/bin/env node
// Packs the npm packages of the CLI: @pandastack/cli, a small script, and one package a platform with the
// binary in it. Nothing is downloaded, here or when the packages are installed.
//
//   node deploy/npm/pack.mjs --out dist --binary linux-x64=target/release/panda

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const repository = join(here, '..', '..');
const NAME = '@pandastack/cli';

// What npm compares with the machine before it installs a platform's package.
const PLATFORMS = {
  'linux-x64': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
  'linux-arm64': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
  'linux-x64-musl': { os: ['linux'], cpu: ['x64'] },
  'linux-arm64-musl': { os: ['linux'], cpu: ['arm64'] },
  'darwin-x64': { os: ['darwin'], cpu: ['x64'] },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
};

function fail(message) {
  console.error(`error: ${message}`);
  process.exit(2);
}

function version() {
  const cargo = readFileSync(join(repository, 'Cargo.toml'), 'utf8');
  const found = /\[workspace\.package\][^[]*?^version = "([^"]+)"/ms.exec(cargo);
  return found ? found[1] : fail('Cargo.toml has no version in [workspace.package]');
}

function shared(description) {
  return {
    version: version(),
    description,
    license: 'Apache-2.0',
    publishConfig: { access: 'public' },
  };
}

// One file of a tar archive in the ustar format, with the same bytes on every run.
function entry(name, content, mode) {
  const header = Buffer.alloc(512);
  const path = `package/${name}`;
  if (Buffer.byteLength(path) > 100) fail(`${path} is too long for a tar header`);
  const octal = (value, length) => `${value.toString(8).padStart(length - 1, '0')}\0`;
  header.write(path, 0);
  header.write(octal(mode, 8), 100);
  header.write(octal(0, 8), 108);
  header.write(octal(0, 8), 116);
  header.write(octal(content.length, 12), 124);
  header.write(octal(499162500, 12), 136); // npm's own fixed time
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
  return Buffer.concat([header, content, padding]);
}

function pack(out, manifest, files) {
  const json = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
  const entries = [entry('package.json', json, 0o644), ...files.map((file) => entry(file.name, file.content, file.mode))];
  const archive = gzipSync(Buffer.concat([...entries, Buffer.alloc(1024)]));
  const path = join(out, `${manifest.name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`);
  writeFileSync(path, archive);
  console.log(path);
}

function platformPackage(out, platform, binary) {
  const manifest = {
    name: `${NAME}-${platform}`,
    ...shared(`The panda binary for ${platform}; install ${NAME}`),
    ...PLATFORMS[platform],
    preferUnplugged: true,
  };
  pack(out, manifest, [
    { name: 'bin/panda', content: readFileSync(binary), mode: 0o755 },
    { name: 'LICENSE', content: readFileSync(join(repository, 'LICENSE')), mode: 0o644 },
  ]);
}

function mainPackage(out, platforms) {
  const manifest = {
    name: NAME,
    ...shared('From a directory to a live HTTPS URL, on your own servers'),
    bin: { panda: 'bin/panda.js' },
    engines: { node: '>=18' },
    optionalDependencies: Object.fromEntries(platforms.map((platform) => [`${NAME}-${platform}`, version()])),
  };
  const text = (name) => ({ name, content: readFileSync(join(here, name)), mode: 0o644 });
  pack(out, manifest, [
    { ...text('bin/panda.js'), mode: 0o755 },
    text('README.md'),
    { name: 'LICENSE', content: readFileSync(join(repository, 'LICENSE')), mode: 0o644 },
  ]);
}

const { values } = parseArgs({ options: { out: { type: 'string' }, binary: { type: 'string', multiple: true } } });
if (!values.out || !values.binary) fail('usage: pack.mjs --out DIRECTORY --binary PLATFORM=FILE [--binary …]');
const binaries = values.binary.map((pair) => {
  const [platform, ...file] = pair.split('=');
  if (!PLATFORMS[platform]) fail(`no platform ${platform}; known: ${Object.keys(PLATFORMS).join(', ')}`);
  return [platform, file.join('=')];
});
mkdirSync(values.out, { recursive: true });
for (const [platform, binary] of binaries) platformPackage(values.out, platform, binary);
mainPackage(values.out, binaries.map(([platform]) => platform));
