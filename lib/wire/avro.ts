/** Control payloads and users' payloads as Avro. Node only: avsc needs Buffer, and compiles with `new Function`. */
import { readFileSync } from 'node:fs';
import avsc from 'avsc';
import { FlowbusError } from '../errors.js';
import { avroCheck, exactLong } from './avro-walk.js';
import { type ControlCodec, type ControlKind, type ControlPayloads, checkControl } from './control.js';
import { Encoding } from './frame.js';

/** One Avro schema, given as its JSON, parsed: what a `.avsc` file holds. */
export type AvroSchema = Parameters<typeof avsc.Type.forSchema>[0];

/** Values of one Avro schema as bytes. Use it for payloads: `publish(topic, order.encode(value), { encoding: 'avro' })`. */
export interface AvroPayload {
  /** Throws BAD_OPTION when `value` does not match the schema. */
  encode(value: unknown): Uint8Array;
  /**
   * Throws BAD_CONTROL unless `bytes` are exactly one value of the schema. Longs must be exact in a double,
   * values may nest 64 levels deep, and an array may not have more items than bytes.
   */
  decode(bytes: Uint8Array): unknown;
}

class AvroSchemaPayload implements AvroPayload {
  readonly #type: avsc.Type;
  readonly #check: (bytes: Buffer) => void;

  constructor(schema: AvroSchema) {
    try {
      this.#type = avsc.Type.forSchema(schema, { registry: { long: exactLong } });
    } catch (cause) {
      throw new FlowbusError('BAD_OPTION', `The Avro schema is wrong: ${(cause as Error).message}.`, {
        cause,
      });
    }
    this.#check = avroCheck(this.#type);
  }

  encode(value: unknown): Uint8Array {
    try {
      return this.#type.toBuffer(value);
    } catch (cause) {
      throw new FlowbusError(
        'BAD_OPTION',
        `The value does not match the schema: ${(cause as Error).message}.`,
        {
          cause,
        },
      );
    }
  }

  decode(bytes: Uint8Array): unknown {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#check(buffer);
    try {
      return this.#type.fromBuffer(buffer);
    } catch (cause) {
      throw new FlowbusError('BAD_CONTROL', `The Avro payload is malformed: ${(cause as Error).message}.`, {
        cause,
      });
    }
  }
}

/** Compiles a schema, once; keep the result. The broker never decodes such payloads. Throws BAD_OPTION. */
export function avroPayload(schema: AvroSchema): AvroPayload {
  return new AvroSchemaPayload(schema);
}

/**
 * The schemas stand beside the contract in lib/wire/, which is published as it is. From the compiled file that
 * is three folders up (dist/lib/wire/) and down again.
 */
const SCHEMAS = new URL('../../../lib/wire/schemas/', import.meta.url);

function load(name: string): AvroPayload {
  return avroPayload(JSON.parse(readFileSync(new URL(`${name}.avsc`, SCHEMAS), 'utf8')) as AvroSchema);
}

const patterns = load('patterns');
const PAYLOADS: Readonly<Record<ControlKind, AvroPayload>> = {
  hello: load('hello'),
  welcome: load('welcome'),
  subscribe: patterns,
  unsubscribe: patterns,
  query: load('query'),
  result: load('result'),
  error: load('error'),
  goaway: load('goaway'),
  gap: load('gap'),
  consume: load('consume'),
  consuming: load('consuming'),
  breaker: load('breaker'),
  pressure: load('pressure'),
  replay: load('replay'),
};

/** avsc takes bytes only as Buffer. */
function asBuffer(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.length) : value;
}

class AvroControl implements ControlCodec {
  readonly encoding = Encoding.avro;

  encode<K extends ControlKind>(kind: K, value: ControlPayloads[K]): Uint8Array {
    const checked: object = checkControl(kind, value);
    if ('correlation' in checked) checked.correlation = asBuffer(checked.correlation);
    if ('cursor' in checked && kind === 'replay') checked.cursor = asBuffer(checked.cursor);
    return PAYLOADS[kind].encode(checked);
  }

  decode<K extends ControlKind>(kind: K, b: Uint8Array, start: number, end: number): ControlPayloads[K] {
    return checkControl(kind, PAYLOADS[kind].decode(b.subarray(start, end)));
  }
}

/** Control payloads as Avro. */
export const avroControl: ControlCodec = new AvroControl();
