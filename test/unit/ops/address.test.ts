import assert from 'node:assert/strict';
import { plainAddress } from '../../../ops/address.js';

describe('the address of a node', () => {
  it('is shown as people write it, where that says all', () => {
    for (const [address, expected] of [
      ['/ip4/10.0.0.7/tcp/9081', '10.0.0.7:9081'],
      ['/ip6/::1/tcp/9081', '[::1]:9081'],
      ['/dns/node-b.example.com/tcp/1', 'node-b.example.com:1'],
      ['/dns4/node-b/tcp/9081', 'node-b:9081'],
      ['/ip4/10.0.0.7/udp/9081', '/ip4/10.0.0.7/udp/9081'],
      ['/ip4/10.0.0.7/tcp/9081/ws', '/ip4/10.0.0.7/tcp/9081/ws'],
      ['node-a', 'node-a'],
    ])
      assert.equal(plainAddress(address), expected);
  });
});
