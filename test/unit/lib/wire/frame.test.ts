import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import {
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  KNOWN_FLAGS,
  LANE_COUNT,
  LANE_NORMAL,
  LANES,
  LAST_FRAME_TYPE,
  MAGIC,
  MAX_SENDER,
  OFFSET_CHECKSUM,
  OFFSET_FLAGS,
  OFFSET_LANE,
  OFFSET_PAYLOAD_SIZE,
  OFFSET_SENDER,
  OFFSET_SEQUENCE,
  OFFSET_TIMESTAMP,
  OFFSET_TOPIC_ID,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  OFFSET_TYPE,
  OFFSET_VERSION,
  readU24,
  readU32,
  readU64,
  VERSION,
  viewOf,
  writeHeader,
  writeU24,
  writeU32,
  writeU64,
} from '../../../../lib/wire/frame.js';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u24 = fc.integer({ min: 0, max: MAX_SENDER });

describe('frame', () => {
  it('writes and reads integers as DataView does, little-endian', () => {
    fc.assert(
      fc.property(u32, u24, fc.maxSafeNat(), fc.nat(7), (a, b, c, o) => {
        const bytes = new Uint8Array(32);
        const view = new DataView(bytes.buffer);
        writeU32(bytes, o, a);
        assert.equal(view.getUint32(o, true), a);
        assert.equal(readU32(bytes, o), a);
        writeU64(bytes, o + 8, c);
        assert.equal(view.getBigUint64(o + 8, true), BigInt(c));
        assert.equal(readU64(bytes, o + 8), c);
        writeU24(bytes, o + 20, b);
        assert.equal(view.getUint32(o + 20, true), b);
        assert.equal(readU24(bytes, o + 20), b);
      }),
    );
  });

  it('puts every header field where the diagram says', () => {
    fc.assert(
      fc.property(
        fc.record({
          type: fc.constantFrom(...Object.values(FrameType)),
          flags: fc.nat(KNOWN_FLAGS),
          lane: fc.nat(LANE_COUNT - 1),
          encoding: fc.constantFrom(...Object.values(Encoding)),
          total: u32,
          payload: u32,
          timestamp: fc.maxSafeNat(),
          sequence: u32,
          topicId: u32,
          topicLength: fc.nat(255),
          sender: u24,
        }),
        fc.nat(9),
        (f, o) => {
          const b = new Uint8Array(HEADER_SIZE + 20).fill(0xaa);
          writeHeader(
            viewOf(b),
            o,
            f.type,
            f.flags,
            f.lane,
            f.encoding,
            f.total,
            f.payload,
            f.timestamp,
            f.sequence,
            f.topicId,
            f.topicLength,
            f.sender,
          );
          assert.equal(readU32(b, o), MAGIC);
          assert.equal(Buffer.from(b.subarray(o, o + 4)).toString(), 'FLOW');
          assert.equal(b[o + OFFSET_VERSION], VERSION);
          assert.equal(b[o + OFFSET_TYPE], f.type);
          assert.equal(b[o + OFFSET_FLAGS], f.flags);
          assert.equal(b[o + OFFSET_LANE] & 7, f.lane);
          assert.equal(b[o + OFFSET_LANE] >> 3, f.encoding);
          assert.equal(readU32(b, o + OFFSET_TOTAL), f.total);
          assert.equal(readU32(b, o + OFFSET_PAYLOAD_SIZE), f.payload);
          assert.equal(readU64(b, o + OFFSET_TIMESTAMP), f.timestamp);
          assert.equal(readU32(b, o + OFFSET_SEQUENCE), f.sequence);
          assert.equal(readU32(b, o + OFFSET_CHECKSUM), 0);
          assert.equal(readU32(b, o + OFFSET_TOPIC_ID), f.topicId);
          assert.equal(b[o + OFFSET_TOPIC_LENGTH], f.topicLength);
          assert.equal(readU24(b, o + OFFSET_SENDER), f.sender);
          assert.ok(b.subarray(0, o).every((byte) => byte === 0xaa));
          assert.ok(b.subarray(o + HEADER_SIZE).every((byte) => byte === 0xaa));
        },
      ),
    );
  });

  it('has the numbers of PROTOCOL.md', () => {
    const protocol = readFileSync(new URL('../../../../../lib/wire/PROTOCOL.md', import.meta.url), 'utf8');
    const table = (title: string) => {
      const section = protocol.slice(protocol.indexOf(`\n### ${title}`) + 1);
      const rows = section.slice(0, section.indexOf('\n#')).matchAll(/^\| (\d+) +\| (\w+) +\|/gm);
      return Object.fromEntries([...rows].map(([, number, name]) => [name, Number(number)]));
    };
    assert.deepEqual(table('Frame types'), { ...FrameType });
    assert.deepEqual(table('Flags'), { ...Flag });
    assert.deepEqual(Object.keys(table('Lanes and encodings')), [...LANES]);
    assert.deepEqual(Object.values(table('Lanes and encodings')), [0, 1, 2, 3, 4]);
  });

  it('is consistent in itself', () => {
    assert.equal(Math.max(...Object.values(FrameType)), LAST_FRAME_TYPE);
    assert.equal(
      Object.values(Flag).reduce((sum, flag) => sum | flag, 0),
      KNOWN_FLAGS,
    );
    assert.equal(LANES.length, LANE_COUNT);
    assert.equal(LANES[LANE_NORMAL], 'normal');
  });
});
