import assert from 'node:assert/strict';
import { DIALER_TIMING, Dialer, MAX_CANDIDATES, type Telephone } from '../../../discovery/dialer.js';

/** Who answers at which address, and what was dialled. */
class Switchboard implements Telephone {
  readonly answers = new Map<string, string>();
  readonly connected = new Set<string>();
  readonly dialled: string[] = [];
  readonly told: string[] = [];

  async dial(address: string): Promise<string> {
    this.dialled.push(address);
    const peer = this.answers.get(address);
    if (peer === undefined) throw new Error('nobody there');
    this.connected.add(peer);
    return peer;
  }

  isConnected(peer: string): boolean {
    return this.connected.has(peer);
  }

  onUnreachable(address: string, reason: Error): void {
    this.told.push(`${address}: ${reason.message}`);
  }

  onReachable(address: string): void {
    this.told.push(`${address}: joined`);
  }
}

describe('Dialer', () => {
  let board: Switchboard;
  let dialer: Dialer;
  let now: number;

  beforeEach(() => {
    board = new Switchboard();
    dialer = new Dialer('m', board, DIALER_TIMING, () => 0.5);
    now = 0;
  });

  /** Lets so many milliseconds pass; returns what was dialled. */
  async function pass(time: number): Promise<string[]> {
    const before = board.dialled.length;
    for (const end = now + time; now < end; now += 250) {
      dialer.tick(now);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return board.dialled.slice(before);
  }

  it('dials for ever what it was to join, ever more seldom, and says so once', async () => {
    dialer.know('seed', null, 'join', now);
    const quick = await pass(5000);
    await pass(60_000);
    const slow = await pass(20_000);
    assert.ok(quick.length > 4 && slow.length >= 3 && slow.length <= 5, `${quick.length} ${slow.length}`);
    assert.deepEqual(board.told, ['seed: nobody there']);
    assert.deepEqual(dialer.unanswered(), ['seed']);
    board.answers.set('seed', 'z');
    await pass(DIALER_TIMING.slowest * 1.5);
    assert.deepEqual(board.told, ['seed: nobody there', 'seed: joined']);
    assert.deepEqual(dialer.unanswered(), []);
    assert.deepEqual(await pass(60_000), []);
  });

  it('of two that lose each other the lower one dials at once, the higher one later', async () => {
    for (const [address, peer] of [
      ['low', 'a'],
      ['high', 'z'],
    ]) {
      board.answers.set(address, peer);
      dialer.know(address, peer, 'learned', now);
    }
    assert.deepEqual((await pass(10_000)).sort(), ['high', 'low']);
    board.connected.clear();
    for (const peer of ['a', 'z']) dialer.lost(peer, now);
    assert.deepEqual(await pass(DIALER_TIMING.courtesy), ['high']);
    assert.deepEqual(await pass(2 * DIALER_TIMING.courtesy), ['low']);
  });

  it('forgets a node that has left, but not what it was to join', async () => {
    board.answers.set('one', 'z').set('two', 'z');
    dialer.know('one', null, 'join', now);
    await pass(250);
    dialer.know('two', 'z', 'learned', now);
    board.connected.clear();
    board.answers.clear();
    dialer.forget('z');
    assert.deepEqual([...new Set(await pass(10_000))], ['one']);
  });

  it('does not dial itself again, whoever named it', async () => {
    board.answers.set('me', 'm');
    dialer.know('me', null, 'join', now);
    dialer.know('also me', 'm', 'learned', now);
    assert.deepEqual(await pass(10_000), ['me']);
    assert.deepEqual(dialer.unanswered(), []);
  });

  it('is not quick with whoever answers and is gone again at once', async () => {
    board.answers.set('there', 'z');
    dialer.know('there', 'z', 'learned', now);
    let dialled = 0;
    for (let i = 0; i < 240; i++) {
      dialled += (await pass(250)).length;
      board.connected.clear();
      dialer.lost('z', now);
    }
    assert.ok(dialled < 20, `${dialled} in a minute`);
  });

  it('leaves a node that refused it alone for a while', async () => {
    board.answers.set('there', 'z');
    dialer.know('there', 'z', 'learned', now);
    await pass(250);
    dialer.refused('z', now);
    board.connected.clear();
    dialer.lost('z', now);
    assert.deepEqual(await pass(9000), []);
    assert.deepEqual(await pass(2000), ['there']);
  });

  it('knows a bounded number of addresses, and gives up in time what it only learned', async () => {
    for (let i = 0; i < MAX_CANDIDATES + 10; i++) dialer.know(`${i}`, `p${i}`, 'learned', now);
    dialer.know('late', 'z', 'learned', now);
    board.answers.set('late', 'z');
    for (let i = 0; i < MAX_CANDIDATES; i++) dialer.forget(`p${i}`);
    assert.deepEqual(await pass(1000), []);
    dialer.know('gone', 'y', 'learned', now);
    await pass(4_000_000);
    assert.deepEqual(await pass(60_000), []);
  });
});
