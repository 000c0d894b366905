import assert from 'node:assert/strict';
import { newSessionName } from '../../../shards/session-names.js';

describe('names of sessions', () => {
  it('are 96 bits each, and never repeat, however many are drawn', () => {
    const names = Array.from({ length: 1000 }, newSessionName);
    assert.equal(new Set(names).size, names.length);
    for (const name of names) assert.match(name, /^[A-Za-z0-9_-]{16}$/);
  });
});
