import assert from 'node:assert/strict';
import { LETTER_KINDS } from '../../../lib/dead-letter.js';
import { type LetterNote, readLetterNote } from '../../../shards/letter-note.js';

const NOTE: LetterNote = {
  kind: 'poison-message',
  cause: 'consumers',
  mailbox: 'agent:a',
  diedAt: 1_700_000_000_000,
  failures: 3,
  attempts: [{ at: 5, consumer: 'c', outcome: 'nack', reason: 'no paper' }],
  lives: [
    {
      storedAt: 1,
      diedAt: 2,
      cause: 'expired',
      failures: 1,
      attempts: [{ at: 1, consumer: 'd', outcome: 'timeout', reason: '' }],
    },
  ],
};

describe('readLetterNote', () => {
  it('reads a note, and with any bit changed nothing that cannot be shown', () => {
    const bytes = Buffer.from(JSON.stringify(NOTE));
    assert.deepEqual(readLetterNote(bytes.toString()), NOTE);
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      bytes[bit >> 3] ^= 1 << (bit & 7);
      const note = readLetterNote(bytes.toString());
      bytes[bit >> 3] ^= 1 << (bit & 7);
      if (note === null) continue;
      assert.ok(LETTER_KINDS.includes(note.kind));
      assert.equal(typeof note.mailbox + typeof note.diedAt + typeof note.failures, 'stringnumbernumber');
      const attempts = [...note.attempts, ...note.lives.flatMap((life) => [...life.attempts])];
      for (const { consumer, reason } of attempts)
        assert.equal(typeof consumer + typeof reason, 'stringstring');
    }
    for (const text of ['', 'null', '7', '[]', '{}', '"x"']) assert.equal(readLetterNote(text), null);
  });
});
