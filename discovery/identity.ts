/** Who a node is, over restarts: its key, how often it has started, and whom it knew. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { FlowbusError } from '../lib/errors.js';
import { type Contact, decodeContacts, encodeContacts } from './contact.js';

const KEY = 'mesh.key';
const INCARNATION = 'mesh.incarnation';
const CONTACTS = 'mesh.contacts';

export class Identity {
  readonly key: PrivateKey;
  readonly incarnation: number;
  readonly #dir: string | null;

  constructor(dir: string | null, key: PrivateKey, incarnation: number) {
    this.#dir = dir;
    this.key = key;
    this.incarnation = incarnation;
  }

  /** Throws BAD_IDENTITY. */
  keepIncarnation(incarnation: number): void {
    if (this.#dir !== null) write(this.#dir, INCARNATION, Buffer.from(`${incarnation}\n`));
  }

  /** Those that were remembered. What cannot be read is nobody: others may still be found. */
  contacts(): Contact[] {
    if (this.#dir === null) return [];
    try {
      return decodeContacts(readFileSync(join(this.#dir, CONTACTS)));
    } catch {
      return [];
    }
  }

  /** Throws BAD_IDENTITY. */
  keepContacts(contacts: readonly Contact[]): void {
    if (this.#dir !== null) write(this.#dir, CONTACTS, encodeContacts(contacts));
  }
}

/**
 * Reads the identity in `dir`, or makes one there, and counts this start. Null: one that ends with the process; its incarnation
 * is the time, so that it is above those of its predecessors. Throws BAD_IDENTITY.
 */
export async function loadIdentity(dir: string | null): Promise<Identity> {
  if (dir === null) return new Identity(null, await generateKeyPair('Ed25519'), Date.now());
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw badIdentity(dir, cause);
  }
  const stored = read(dir, KEY);
  let key: PrivateKey;
  if (stored === null) {
    key = await generateKeyPair('Ed25519');
    write(dir, KEY, privateKeyToProtobuf(key));
  } else {
    try {
      key = privateKeyFromProtobuf(stored);
    } catch (cause) {
      throw badIdentity(join(dir, KEY), cause);
    }
  }
  const before = Number(read(dir, INCARNATION)?.toString() ?? 0);
  if (!Number.isSafeInteger(before) || before < 0) throw badIdentity(join(dir, INCARNATION));
  const identity = new Identity(dir, key, before + 1);
  identity.keepIncarnation(before + 1);
  return identity;
}

function badIdentity(path: string, cause?: unknown): FlowbusError {
  const reason = cause instanceof Error ? cause.message : 'it is damaged';
  return new FlowbusError('BAD_IDENTITY', `The node's identity, ${JSON.stringify(path)}: ${reason}.`, {
    cause,
  });
}

function read(dir: string, name: string): Buffer | null {
  try {
    return readFileSync(join(dir, name));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw badIdentity(join(dir, name), cause);
  }
}

/** Whole or not at all, also when the power fails. */
function write(dir: string, name: string, bytes: Uint8Array): void {
  const path = join(dir, name);
  try {
    const file = openSync(`${path}.new`, 'w', 0o600);
    try {
      writeSync(file, bytes);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
  } catch (cause) {
    throw badIdentity(path, cause);
  }
}
