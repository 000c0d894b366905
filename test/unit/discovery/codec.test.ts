import assert from 'node:assert/strict';
import fc from 'fast-check';
import { decodeMessage, encodeMessage } from '../../../discovery/codec.js';
import type { MeshMessage } from '../../../discovery/message.js';
import { FlowbusError } from '../../../lib/errors.js';

const MESSAGES: MeshMessage[] = [
  { type: 'heartbeat', node: 'n', incarnation: 1, beat: 2, sequence: 3, hash: 0xffffffff },
  { type: 'farewell', node: 'n', incarnation: 1, beat: 2 },
  {
    type: 'changes',
    node: 'n',
    incarnation: 1,
    from: 4,
    to: 9,
    reset: false,
    floor: 0,
    last: true,
    changes: [
      { key: 'a', value: Buffer.from('x'), sequence: 6 },
      { key: 'b', value: null, sequence: 9 },
    ],
  },
  { type: 'pull', node: 'n', incarnation: 1, since: 4, floor: 2 },
  {
    type: 'digest',
    answer: true,
    nodes: [{ node: 'm', incarnation: 1, beat: 2, sequence: 3, hash: 4, state: 'suspect' }],
  },
];

/** Without the classes that the codec makes. */
const plain = (message: MeshMessage): unknown => JSON.parse(JSON.stringify(message));

describe('messages of the mesh', () => {
  for (const message of MESSAGES) {
    it(`${message.type}: comes out as it went in`, () => {
      assert.deepEqual(plain(decodeMessage(encodeMessage(message))), plain(message));
    });
  }

  it('refuses numbers that are negative, names that are none, changes that are not in order', () => {
    const wrong: MeshMessage[] = [
      { type: 'farewell', node: '', incarnation: 1, beat: 2 },
      { type: 'farewell', node: 'n', incarnation: -1, beat: 2 },
      { type: 'heartbeat', node: 'n', incarnation: 1, beat: 2, sequence: -3, hash: 0 },
      { type: 'pull', node: 'n', incarnation: 1, since: -1, floor: 0 },
      { ...(MESSAGES[2] as object), to: 3 } as MeshMessage,
      { ...(MESSAGES[2] as object), from: 6 } as MeshMessage,
      { ...(MESSAGES[2] as object), to: 8 } as MeshMessage,
      {
        type: 'digest',
        answer: true,
        nodes: [{ node: 'm', incarnation: 1, beat: -2, sequence: 3, hash: 4, state: 'alive' }],
      },
    ];
    for (const message of wrong)
      assert.throws(
        () => decodeMessage(encodeMessage(message)),
        { code: 'BAD_CONTROL' },
        JSON.stringify(message),
      );
  });

  it('any bytes: a message or BAD_CONTROL', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          assert.ok(decodeMessage(bytes).type);
        } catch (error) {
          assert.ok(error instanceof FlowbusError && error.code === 'BAD_CONTROL', String(error));
        }
      }),
    );
  });
});
