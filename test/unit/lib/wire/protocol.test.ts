/** PROTOCOL.md is the contract: what it shows must be what the code reads and writes. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import zlib from 'node:zlib';
import { avroControl } from '../../../../lib/wire/avro.js';
import { BatchReader, Step } from '../../../../lib/wire/batch.js';
import { checksumHolds, checksumSeed, sealFrame } from '../../../../lib/wire/checksum.js';
import { CONTROL_KINDS, jsonControl } from '../../../../lib/wire/control.js';
import {
  EXTENSION_FLAGS,
  Extensions,
  extensionsSize,
  writeExtensions,
} from '../../../../lib/wire/extensions.js';
import { Encoding, FrameType, HEADER_SIZE, LANES, viewOf, writeHeader } from '../../../../lib/wire/frame.js';
import { parseOp } from '../../../../lib/wire/json.js';
import { fromHex, readUtf8 } from '../../../../lib/wire/text.js';
import { AGENT, CONTROL_VALUES, TOPIC, VECTORS } from './vectors.js';

const FOLDER = new URL('../../../../../lib/wire/', import.meta.url);
const PROTOCOL = readFileSync(new URL('PROTOCOL.md', FOLDER), 'utf8');
const crc = (zlib as unknown as { crc32(data: Uint8Array, value?: number): number }).crc32;

function blocks(tag: string): [string, string][] {
  const pattern = new RegExp(`^\`\`\`${tag}=(\\S+)\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return [...PROTOCOL.matchAll(pattern)].map(([, name, body]) => [name, body]);
}

function bytesOf(body: string): Uint8Array {
  const bytes = fromHex(body.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''));
  assert.ok(bytes !== null);
  return bytes;
}

/** Takes a frame apart and puts it together again, from nothing but what was read. */
function again(b: Uint8Array, seed: number, covered = b.length): Uint8Array {
  const reader = new BatchReader();
  reader.open(b, 0, b.length, b.length);
  assert.equal(reader.next(), Step.frame);
  const { type, flags, lane, encoding, payloadSize, topicId, topicLength, sender, timestamp, sequence } =
    reader;
  const { topicStart, extensionsStart, payloadStart } = reader;
  assert.equal(reader.next(), Step.end);

  const extensions = new Extensions();
  assert.equal(extensions.read(b, extensionsStart, payloadStart), null);
  assert.equal(extensions.flags, flags & EXTENSION_FLAGS);
  const outgoing = {
    replyTo: extensions.replyTo ?? undefined,
    correlation: extensions.correlation ?? undefined,
    messageId: extensions.messageId ?? undefined,
    ttl: extensions.ttl ?? undefined,
    key: extensions.key ?? undefined,
    traceparent: extensions.traceparent ?? undefined,
    signature: extensions.signature ?? undefined,
    headers: extensions.headers ?? undefined,
    delay: extensions.delay ?? undefined,
    retry: extensions.retry ?? undefined,
  };
  assert.equal(extensionsSize(outgoing), payloadStart - extensionsStart);

  let payload = b.subarray(payloadStart);
  const kind = CONTROL_KINDS.find((name) => FrameType[name] === type);
  if (kind !== undefined) {
    const codec = encoding === Encoding.avro ? avroControl : jsonControl;
    assert.equal(encoding, codec.encoding);
    const value = codec.decode(kind, b, payloadStart, b.length);
    assert.deepEqual(value, CONTROL_VALUES[kind]);
    payload = codec.encode(kind, value);
  }

  const copy = new Uint8Array(b.length);
  writeHeader(
    viewOf(copy),
    0,
    type,
    flags,
    lane,
    encoding,
    b.length,
    payloadSize,
    timestamp,
    sequence,
    topicId,
    topicLength,
    sender,
  );
  copy.set(b.subarray(topicStart, topicStart + topicLength), HEADER_SIZE);
  const end = writeExtensions(copy, HEADER_SIZE + topicLength, outgoing);
  copy.set(payload, end);
  sealFrame(copy, 0, covered, seed);
  return copy;
}

describe('PROTOCOL.md', () => {
  const examples = blocks('hex name');

  it('shows every example once', () => {
    assert.deepEqual(examples.map(([name]) => name).sort(), Object.keys(VECTORS).sort());
  });

  for (const [name, body] of examples) {
    it(`example ${name} is what the code writes`, () => {
      assert.equal(
        Buffer.from(bytesOf(body)).toString('hex'),
        Buffer.from(VECTORS[name].bytes).toString('hex'),
      );
    });

    it(`example ${name}, decoded and encoded again, is the same byte for byte`, () => {
      const { from, topic, covered } = VECTORS[name];
      const bytes = bytesOf(body);
      const seed = from === undefined || topic === undefined ? 0 : checksumSeed(from, topic);
      assert.ok(checksumHolds(bytes, 0, covered ?? bytes.length, seed));
      assert.deepEqual(again(bytes, seed, covered), bytes);
    });

    it(`example ${name} has the checksum that the text describes`, () => {
      const { from, topic, covered: end } = VECTORS[name];
      const bytes = bytesOf(body);
      const texts = from === undefined ? '' : `${from}\0${topic}`;
      const covered = Buffer.concat([Buffer.from(texts), bytes.subarray(0, 28), bytes.subarray(40, end)]);
      assert.equal(Buffer.from(bytes).readUInt32LE(28), crc(covered));
    });
  }

  it('works the checksum example out correctly', () => {
    const [[name, body]] = blocks('checksum name');
    const bytes = VECTORS[name].bytes;
    const seed = crc(Buffer.from(`${AGENT}\0${TOPIC}`));
    const header = crc(bytes.subarray(0, 28), seed);
    const steps = [seed, header, crc(bytes.subarray(40), header)].map((n) => n.toString(16).padStart(8, '0'));
    assert.deepEqual(body.match(/\b[0-9a-f]{8}\b/g), steps);
    assert.ok(body.includes(`bytes 40 to ${bytes.length - 1} `));
  });

  it('shows operations of the JSON door that are read', () => {
    const ops = blocks('json door').flatMap(([door, body]) => (door === 'in' ? body.trim().split('\n') : []));
    const seen = new Set(ops.map((line) => parseOp(line).op));
    assert.deepEqual([...seen].sort(), [
      'ack',
      'agents',
      'consume',
      'hello',
      'leave',
      'nack',
      'ping',
      'publish',
      'reply',
      'request',
      'send',
      'store',
      'subscribe',
      'unsubscribe',
    ]);
  });

  it('shows answers of the JSON door with known operations', () => {
    const lines = blocks('json door').flatMap(([door, body]) =>
      door === 'out' ? body.trim().split('\n') : [],
    );
    const seen = new Set<string>();
    for (const line of lines) {
      const answer = JSON.parse(line) as { op: string; priority?: string };
      if (answer.priority !== undefined) assert.ok((LANES as readonly string[]).includes(answer.priority));
      seen.add(answer.op);
    }
    assert.deepEqual([...seen].sort(), [
      'ack',
      'agents',
      'consuming',
      'error',
      'gap',
      'goaway',
      'message',
      'pong',
      'reply',
      'stored',
      'welcome',
    ]);
  });

  it('has no dead links', () => {
    const slugs = new Set(
      [...PROTOCOL.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
        title
          .toLowerCase()
          .replaceAll(/[^a-z0-9 -]/g, '')
          .replaceAll(' ', '-'),
      ),
    );
    for (const [, target] of PROTOCOL.matchAll(/\]\(([^)]+)\)/g)) {
      if (target.startsWith('#')) assert.ok(slugs.has(target.slice(1)), target);
      else assert.ok(existsSync(new URL(target, FOLDER)), target);
    }
  });

  it('lists the fields of each schema in its order', () => {
    interface Schema {
      fields: { name: string; type: { items?: Schema } }[];
    }
    const schemaOf = (name: string) =>
      JSON.parse(readFileSync(new URL(`schemas/${name}.avsc`, FOLDER), 'utf8')) as Schema;
    const tables: [string, Schema][] = [
      ['hello', schemaOf('hello')],
      ['welcome', schemaOf('welcome')],
      ['query and result', schemaOf('result').fields[0].type.items!],
      ['consume, consuming, leave', schemaOf('consume')],
      ['replay', schemaOf('replay')],
    ];
    for (const [title, schema] of tables) {
      const section = PROTOCOL.slice(PROTOCOL.indexOf(`\n### ${title}\n`));
      const rows = section.slice(0, section.indexOf('```')).matchAll(/^\| (\w+) +\|/gm);
      assert.deepEqual(
        [...rows].map(([, field]) => field).slice(1),
        schema.fields.map((field) => field.name),
      );
    }
  });

  it('has sequences that read as text where they are text', () => {
    const { bytes } = VECTORS['publish-spelled'];
    assert.equal(readUtf8(bytes, HEADER_SIZE, HEADER_SIZE + TOPIC.length), TOPIC);
  });
});
