/** Where a node can be reached, and by which key it is known. Each node has its own as a record in its part of the directory. */
import { FlowbusError } from '../lib/errors.js';
import { loadSchema } from './codec.js';

export interface Contact {
  /** libp2p's peer id. */
  peer: string;
  /** Multiaddrs, at most MAX_ADDRESSES. */
  addresses: string[];
}

/** The record's key in the part of its node; the gateway's keys are longer. */
export const CONTACT_KEY = '';
export const MAX_ADDRESSES = 16;
const MAX_TEXT = 256;

const one = loadSchema('contact');
const many = loadSchema('contacts');

export function encodeContact(contact: Contact): Buffer {
  return Buffer.from(one.encode(contact));
}

/** Throws BAD_CONTROL. */
export function decodeContact(bytes: Uint8Array): Contact {
  return checked(one.decode(bytes) as Contact);
}

export function encodeContacts(contacts: readonly Contact[]): Uint8Array {
  return many.encode(contacts);
}

/** Throws BAD_CONTROL. */
export function decodeContacts(bytes: Uint8Array): Contact[] {
  return (many.decode(bytes) as Contact[]).map(checked);
}

function checked({ peer, addresses }: Contact): Contact {
  if (addresses.length > MAX_ADDRESSES || [peer, ...addresses].some((text) => text.length > MAX_TEXT))
    throw new FlowbusError('BAD_CONTROL', 'The contact of a node is too long.');
  return { peer, addresses };
}
