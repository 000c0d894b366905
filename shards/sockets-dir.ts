/**
 * The private directory for the Unix sockets of one run of the primary. Its name is short, for a socket's path
 * may have 107 bytes; a file in it says whose it is, so that the next start can remove what a killed primary left.
 */
import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDead, type Owner, thisProcess } from '../lib/memory/owner.js';

const PREFIX = 'flowbus-run-';
const NAME = /^flowbus-run-[A-Za-z0-9]{6}$/;
const OWNER_FILE = 'owner.json';
/** 107 bytes, without the directory's own name and what links put behind it. */
const MAX_BASE = 107 - 64;
/** A directory without its file is one that is just being made, unless it is older than this (ms). */
const MAKING_GRACE = 60_000;

function readOwner(directory: string): Owner | null {
  try {
    const { pid, start, namespace } = JSON.parse(
      readFileSync(join(directory, OWNER_FILE), 'utf8'),
    ) as Partial<Owner>;
    if (pid === undefined || !Number.isInteger(pid) || pid <= 0) return null;
    return { pid, start: Number(start), namespace: Number(namespace) };
  } catch {
    return null;
  }
}

function isStale(directory: string, stat: Stats): boolean {
  const owner = readOwner(directory);
  if (owner === null) return Date.now() - stat.mtimeMs > MAKING_GRACE;
  return isDead(owner);
}

function baseDirectory(): string {
  const base = tmpdir();
  return Buffer.byteLength(base) <= MAX_BASE ? base : '/tmp';
}

/** Makes the directory, for this process. Mode 0700. */
export function createSocketsDir(base = baseDirectory()): string {
  const directory = mkdtempSync(join(base, PREFIX));
  writeFileSync(join(directory, OWNER_FILE), JSON.stringify(thisProcess()), { mode: 0o600 });
  return directory;
}

export function removeSocketsDir(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

/** Removes what this user's dead primaries left in `base`, and returns the paths. */
export function removeStaleSocketsDirs(base = baseDirectory()): string[] {
  const removed: string[] = [];
  for (const name of readdirSync(base)) {
    if (!NAME.test(name)) continue;
    const directory = join(base, name);
    try {
      const stat = lstatSync(directory);
      if (!stat.isDirectory() || stat.uid !== process.getuid?.() || !isStale(directory, stat)) continue;
      removeSocketsDir(directory);
      removed.push(directory);
    } catch {
      // Another primary that starts now was faster.
    }
  }
  return removed;
}
