import assert from 'node:assert/strict';
import { type HomeRecord, readHomeRecord } from '../../../../shards/journal/home-record.js';
import { mailboxName } from '../../../../shards/mailbox-ref.js';

const POLICY = { lease: 30_000, balance: 'round-robin' } as unknown as HomeRecord['policy'];
const RECORDS: HomeRecord[] = [
  { name: 'agent:a-1', kind: 'agent', pattern: '_agent.a-1', epoch: 1, policy: POLICY, nextOffset: 12 },
  {
    name: 'capability:ocr',
    kind: 'capability',
    pattern: '_capability.ocr',
    epoch: 1,
    policy: POLICY,
    nextOffset: 1,
  },
  { name: 'group:g:work.**', kind: 'group', pattern: 'work.**', epoch: 3, policy: POLICY, nextOffset: 99 },
];

describe('readHomeRecord', () => {
  it('reads what a mailbox is, and with any bit changed nothing that no mailbox can be', () => {
    for (const record of RECORDS) {
      const bytes = Buffer.from(JSON.stringify(record));
      assert.deepEqual(readHomeRecord(bytes.toString()), record);
      let refused = 0;
      for (let bit = 0; bit < 8 * bytes.length; bit++) {
        bytes[bit >> 3] ^= 1 << (bit & 7);
        const read = readHomeRecord(bytes.toString());
        bytes[bit >> 3] ^= 1 << (bit & 7);
        if (read === null) refused++;
        else {
          const { name, kind, pattern, epoch, nextOffset, policy } = read;
          const own = kind === 'group' ? name.split(':')[1] : pattern.split('.')[1];
          assert.equal(name, mailboxName(kind, own, pattern));
          assert.ok(epoch >= 1 && nextOffset >= 1 && Number.isSafeInteger(epoch + nextOffset));
          assert.equal(typeof policy, 'object');
        }
      }
      assert.ok(refused > 4 * bytes.length, `${refused} of ${8 * bytes.length}`);
    }
    for (const text of ['', 'null', '7', '[]', '{}', '"x"']) assert.equal(readHomeRecord(text), null);
  });
});
