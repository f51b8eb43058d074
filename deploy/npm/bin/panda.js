#!/usr/bin/env node
// Starts the binary of this platform's package and is otherwise not there: arguments, streams, signals
// and the exit code go through.
'use strict';

const { spawn } = require('node:child_process');

const NAME = '@pandastack/cli';

function candidates() {
  const base = `${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return [base];
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  return glibc ? [base, `${base}-musl`] : [`${base}-musl`];
}

function binary() {
  for (const platform of candidates()) {
    try {
      return require.resolve(`${NAME}-${platform}/bin/panda`);
    } catch {
      // The next one, or none.
    }
  }
  console.error(`error: ${NAME} has no binary for ${process.platform}-${process.arch} here`);
  console.error('');
  console.error(`hint: install again without --omit=optional; it brings ${candidates().map((p) => `${NAME}-${p}`).join(' or ')}`);
  process.exit(6);
}

const child = spawn(binary(), process.argv.slice(2), { stdio: 'inherit' });
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGWINCH'];
for (const signal of signals) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  console.error(`error: panda can't be started: ${error.message}`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  if (!signal) process.exit(code);
  for (const known of signals) process.removeAllListeners(known);
  process.kill(process.pid, signal);
});
