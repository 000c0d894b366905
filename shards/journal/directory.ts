/** Where the journals of a node lie: one directory for each slot, and a lock, so that no two brokers write the same. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { FlowbusError } from '../../lib/errors.js';
import { isDead, type Owner, thisProcess } from '../../lib/memory/owner.js';

const LOCK = 'lock';
const NAME = /^slot-(\d+)$/;

export function journalDir(dataDir: string, slot: number): string {
  return join(dataDir, `slot-${slot}`);
}

/** Journals of slots that the node no longer has, as far as they fall to `slot`. */
export function orphansOf(dataDir: string, slot: number, workers: number): string[] {
  if (!existsSync(dataDir)) return [];
  return readdirSync(dataDir).flatMap((name) => {
    const match = NAME.exec(name);
    if (match === null) return [];
    const number = Number(match[1]);
    return number >= workers && number % workers === slot ? [join(dataDir, name)] : [];
  });
}

/** Takes the data directory for this process; what it returns gives it back. Throws DATA_DIR_IN_USE. */
export function lockDataDir(dataDir: string): () => void {
  const path = join(dataDir, LOCK);
  const owner = JSON.stringify(thisProcess());
  for (;;) {
    try {
      const fd = openSync(path, 'wx', 0o600);
      writeSync(fd, owner);
      closeSync(fd);
      return () => {
        if (existsSync(path) && readFileSync(path, 'utf8') === owner) unlinkSync(path);
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = ownerIn(path);
    if (holder !== null && !isDead(holder))
      throw new FlowbusError(
        'DATA_DIR_IN_USE',
        `Another broker (process ${holder.pid}) keeps its journals in ${dataDir}.`,
      );
    unlinkSync(path);
  }
}

/** Null: it died before it had written its name. */
function ownerIn(path: string): Owner | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Owner;
  } catch {
    return null;
  }
}
