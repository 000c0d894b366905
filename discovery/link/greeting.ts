/** The first frame on a stream between two nodes: who that is, and which link it knows. */
import { FlowbusError } from '../../lib/errors.js';
import { MAX_NODE_NAME } from '../../lib/wire/control.js';
import { loadSchema } from '../codec.js';

export interface Greeting {
  node: string;
  /** The sender's number of the link, never 0; and the receiver's, as the sender has it from a greeting before; 0: it has none. */
  session: number;
  peerSession: number;
  /** Of the last batch that it has on that link. */
  received: number;
}

const payload = loadSchema('greeting');

export function encodeGreeting(greeting: Greeting): Uint8Array {
  return payload.encode(greeting);
}

/** Throws BAD_CONTROL. */
export function decodeGreeting(bytes: Uint8Array): Greeting {
  const greeting = payload.decode(bytes) as Greeting;
  const { node, session, peerSession, received } = greeting;
  if (node === '' || node.length > MAX_NODE_NAME || session < 1 || peerSession < 0 || received < 0)
    throw new FlowbusError('BAD_CONTROL', 'A greeting between nodes has a field that is out of range.');
  return greeting;
}

/** Whether both still know the same link. Both sides come to the same answer, having the same two greetings. */
export function isSameLink(own: Greeting, others: Greeting): boolean {
  return own.peerSession === others.session && others.peerSession === own.session;
}
