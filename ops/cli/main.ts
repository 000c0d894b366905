#!/usr/bin/env node
import { Exit } from './exit.js';
import { Output } from './output.js';
import { runCli } from './program.js';

// `flowbus sub … | head -1`: whoever read us has seen enough. Errors of the log stream change nothing.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? Exit.ok : Exit.failed);
});
process.stderr.on('error', () => {});

process.exit(await runCli(process.argv.slice(2), new Output()));
