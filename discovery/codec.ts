/** Messages of the mesh as bytes: one that says which it is, then its Avro by the schema beside. */
import { readFileSync } from 'node:fs';
import { FlowbusError } from '../lib/errors.js';
import { type AvroPayload, type AvroSchema, avroPayload } from '../lib/wire/avro.js';
import { MAX_NODE_NAME } from '../lib/wire/control.js';
import type { MeshMessage } from './message.js';

/** Seen from the compiled file, dist/discovery/. */
const SCHEMAS = new URL('../../discovery/schemas/', import.meta.url);

export function loadSchema(name: string): AvroPayload {
  return avroPayload(JSON.parse(readFileSync(new URL(`${name}.avsc`, SCHEMAS), 'utf8')) as AvroSchema);
}

/** The place in here is the first byte of the message. */
const TYPES = ['heartbeat', 'farewell', 'changes', 'pull', 'digest'] as const;
const PAYLOADS = TYPES.map(loadSchema);

export function encodeMessage(message: MeshMessage): Uint8Array {
  const type = TYPES.indexOf(message.type);
  const payload = PAYLOADS[type].encode(message);
  const bytes = new Uint8Array(payload.length + 1);
  bytes[0] = type;
  bytes.set(payload, 1);
  return bytes;
}

/** Throws BAD_CONTROL. The values of changes are copies. */
export function decodeMessage(bytes: Uint8Array): MeshMessage {
  const type = TYPES[bytes[0]];
  if (type === undefined)
    throw new FlowbusError('BAD_CONTROL', 'A message of the mesh of a type that is not known.');
  const message = { ...(PAYLOADS[bytes[0]].decode(bytes.subarray(1)) as object), type } as MeshMessage;
  check(message);
  return message;
}

function check(message: MeshMessage): void {
  if (message.type === 'digest') {
    for (const news of message.nodes) {
      checkNode(news.node);
      checkNumbers(news.incarnation, news.beat, news.sequence, news.hash);
    }
    return;
  }
  checkNode(message.node);
  checkNumbers(message.incarnation);
  if (message.type === 'pull') checkNumbers(message.since, message.floor);
  else if (message.type !== 'changes') checkNumbers(message.beat);
  else {
    checkNumbers(message.from, message.floor, message.to - message.from);
    let before = message.from;
    for (const { sequence } of message.changes) {
      if (sequence <= before || sequence > message.to)
        throw new FlowbusError('BAD_CONTROL', 'Changes of the directory are not in order.');
      before = sequence;
    }
  }
  if (message.type === 'heartbeat') checkNumbers(message.sequence, message.hash);
}

function checkNode(node: string): void {
  if (node === '' || node.length > MAX_NODE_NAME)
    throw new FlowbusError('BAD_CONTROL', `A node's name has 1 to ${MAX_NODE_NAME} characters.`);
}

function checkNumbers(...numbers: number[]): void {
  for (const number of numbers)
    if (!(number >= 0))
      throw new FlowbusError('BAD_CONTROL', 'A number in a message of the mesh is negative.');
}
