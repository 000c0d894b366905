import { accessSync, constants, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { FlowbusError } from '../errors.js';
import { nodeName } from './kinds.js';

function reasonOf(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EACCES':
    case 'EPERM':
      return 'this user may not write there';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOTDIR':
    case 'EEXIST':
      return 'a part of the path is a file';
    case 'ENOENT':
      return 'no directory can be made there';
    case 'ENOSPC':
      return 'the disk is full';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

/**
 * Level by level, because Node's own `recursive` never returns where a file system answers ENOENT although the
 * parent is there, as /proc does (Node 20).
 */
function makeDirectory(path: string): void {
  const missing: string[] = [];
  for (let at = path; !existsSync(at); at = dirname(at)) missing.push(at);
  for (const at of missing.reverse()) mkdirSync(at, { mode: 0o700 });
}

/**
 * Creates the data directory if it is missing, readable by its owner only, and makes sure that this process can
 * write in it. Returns its absolute path.
 * @throws FlowbusError DATA_DIR_UNWRITABLE
 */
export function prepareDataDir(dataDir: string): string {
  const path = resolve(dataDir);
  try {
    makeDirectory(path);
    if (!statSync(path).isDirectory()) throw Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new FlowbusError(
      'DATA_DIR_UNWRITABLE',
      `data directory ${JSON.stringify(path)}: ${reasonOf(error)}`,
      {
        cause: error,
      },
    );
  }
  return path;
}

const NAME_FILE = 'node';

/**
 * The name that the node of this directory had before, or `name`, which is then its own from now on: to other nodes it is the same
 * one after each start.
 * @throws FlowbusError BAD_CONFIG when the file that it is kept in holds none
 */
export function keepNodeName(dataDir: string, name: string): string {
  const path = join(dataDir, NAME_FILE);
  try {
    writeFileSync(path, `${name}\n`, { flag: 'wx', mode: 0o600 });
    return name;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const { schema, allowed } = nodeName();
  const kept = schema.safeParse(readFileSync(path, 'utf8').trim());
  if (kept.success) return kept.data;
  throw new FlowbusError(
    'BAD_CONFIG',
    `${path}: must be ${allowed}; or remove it, and name the node (--node)`,
  );
}
