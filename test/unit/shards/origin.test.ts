import assert from 'node:assert/strict';
import { originAllowed } from '../../../shards/http/origin.js';

describe('originAllowed', () => {
  it('lets programs and pages of this machine in', () => {
    for (const origin of [undefined, 'http://localhost:3000', 'http://127.0.0.1:8081', 'https://[::1]:8443'])
      assert.equal(originAllowed(origin, []), true, origin);
  });

  it('keeps other pages out unless they are allowed', () => {
    for (const origin of [
      'https://evil.example',
      'http://localhost.evil.example',
      'http://127.0.0.1.evil.example',
      'chrome-extension://localhost',
      'null',
      '',
    ])
      assert.equal(originAllowed(origin, ['https://app.example']), false, origin);
    assert.equal(originAllowed('https://app.example', ['https://app.example']), true);
    assert.equal(originAllowed('https://any.example', ['*']), true);
  });
});
