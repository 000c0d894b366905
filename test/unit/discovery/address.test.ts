import assert from 'node:assert/strict';
import { addressOf, parseAddress } from '../../../discovery/address.js';
import { FlowbusError } from '../../../lib/errors.js';

describe('addresses of nodes', () => {
  for (const [text, address] of [
    ['10.0.0.1:8090', '/ip4/10.0.0.1/tcp/8090'],
    ['[fe80::1]:8090', '/ip6/fe80::1/tcp/8090'],
    ['node-1.mesh.local:8090', '/dns/node-1.mesh.local/tcp/8090'],
    ['/dns4/node-1/tcp/8090', '/dns4/node-1/tcp/8090'],
    [
      '/ip4/10.0.0.1/tcp/8090/p2p/12D3KooWEYHE2VihRpGw9ncV2yKPnAc1CpgVZShikZd3NejrzGh5',
      '/ip4/10.0.0.1/tcp/8090',
    ],
  ]) {
    it(`${text} is ${address}`, () => assert.equal(parseAddress(text), address));
  }

  for (const text of [
    '',
    'host',
    'host:',
    ':8090',
    'host:99999',
    'a b:1',
    '/ip4/10.0.0.1',
    '/ip4/10.0.0.1/udp/1',
    '/ip4/10.0.0.1/tcp/1/ws',
    '10.0.0.1:80/x',
  ]) {
    it(`${JSON.stringify(text)} is none`, () =>
      assert.throws(
        () => parseAddress(text),
        (error) => error instanceof FlowbusError && error.code === 'BAD_NODE_ADDRESS',
      ));
  }

  it('are made of host and port', () => {
    assert.equal(addressOf('::1', 0), '/ip6/::1/tcp/0');
    assert.equal(addressOf('0.0.0.0', 8090), '/ip4/0.0.0.0/tcp/8090');
  });
});
