import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type SimulatedNode, Simulation } from '../../../bench/simulated-mesh.js';
import type { Changes, DirectMessage, GossipMessage } from '../../../discovery/message.js';
import { Part } from '../../../discovery/part.js';
import { Replica, TIMING } from '../../../discovery/replica.js';

const CALM = { minDelay: 1, maxDelay: 5, loss: 0 };
const STORM = { minDelay: 1, maxDelay: 400, loss: 0.1 };
/** What the design promises of a mesh after whatever happened (ms). */
const LIMIT = 5000;

function fill(node: SimulatedNode, count: number, now: number, from = 0): void {
  for (let i = from; i < from + count; i++)
    node.replica.write(`${node.name}-agent-${i}`, Buffer.from(`record ${i}`), now);
}

function joined(nodes: number, agents: number, weather = CALM): Simulation {
  const simulation = new Simulation({ nodes, weather });
  for (const node of simulation.nodes) fill(node, agents, simulation.now);
  for (const node of simulation.nodes) simulation.greet(node);
  return simulation;
}

function assertAgrees(simulation: Simulation, limit = LIMIT): void {
  assert.notEqual(
    simulation.until(() => simulation.agrees(), limit),
    null,
  );
}

describe('Replica', () => {
  it('nodes that meet have all records of each other', () => {
    const simulation = joined(3, 5000);
    assertAgrees(simulation);
    assert.equal(simulation.nodes[0].observed.records.get('node-1')?.size, 5000);
  });

  it('a change is everywhere a moment later, a removal too', () => {
    const simulation = joined(5, 10);
    assertAgrees(simulation);
    const [first] = simulation.nodes;
    first.replica.write('new', Buffer.from('x'), simulation.now);
    first.replica.write('node-0-agent-3', null, simulation.now);
    simulation.run(200);
    for (const { observed } of simulation.nodes.slice(1)) {
      assert.equal(observed.records.get('node-0')?.get('new')?.toString(), 'x');
      assert.equal(observed.records.get('node-0')?.has('node-0-agent-3'), false);
    }
  });

  it('agrees in bad weather while everything changes', () => {
    const simulation = joined(5, 100, STORM);
    for (let round = 0; round < 20; round++) {
      for (const node of simulation.nodes) {
        fill(node, 20, simulation.now, round * 7);
        node.replica.write(`${node.name}-agent-${round}`, null, simulation.now);
      }
      simulation.run(100);
    }
    assertAgrees(simulation);
  });

  it('holds a node that is silent for suspect, then for dead, and it is back when it beats again', () => {
    const simulation = joined(4, 10);
    assertAgrees(simulation);
    const [first, second] = simulation.nodes;
    simulation.kill(second);
    const suspect = simulation.until(() => first.observed.states.get('node-1') === 'suspect', 10_000);
    assert.ok(suspect !== null && suspect > 2000, String(suspect));
    assert.equal(first.observed.records.get('node-1')?.size, 10);
    assert.notEqual(
      simulation.until(() => first.observed.states.get('node-1') === 'dead', 10_000),
      null,
    );
    simulation.restart(second);
    fill(second, 5, simulation.now);
    assertAgrees(simulation);
    assert.equal(first.observed.records.get('node-1')?.size, 5);
  });

  it('who says farewell is gone at once, and is not brought back by what others still say of it', () => {
    const simulation = joined(4, 10);
    assertAgrees(simulation);
    const [first, second] = simulation.nodes;
    second.replica.leave();
    simulation.run(50);
    simulation.kill(second);
    assert.equal(first.observed.states.get('node-1'), 'left');
    assert.equal(first.observed.records.get('node-1')?.size, 0);
    simulation.run(40_000);
    for (const { observed, up } of simulation.nodes)
      if (up) assert.equal(observed.states.get('node-1'), 'left');
    assertAgrees(simulation);
  });

  it('a bad link between two nodes kills neither: others have heard of them', () => {
    const simulation = joined(5, 10);
    assertAgrees(simulation);
    const [a, b] = simulation.nodes;
    // Neither hears the other, on any way, but both hear the rest.
    for (const [at, from] of [
      [a, b],
      [b, a],
    ]) {
      const receive = at.replica.receive.bind(at.replica);
      at.replica.receive = (source, message, now) => {
        const author = 'node' in message ? message.node : source;
        if (author !== from.name && source !== from.name) receive(source, message, now);
      };
    }
    simulation.run(30_000);
    assert.notEqual(a.observed.states.get(b.name), 'dead');
    assert.notEqual(b.observed.states.get(a.name), 'dead');
  });

  it('two halves hold each other for dead, and agree within seconds when they meet again', () => {
    const simulation = joined(5, 50);
    assertAgrees(simulation);
    simulation.cut((node) => (node.index < 2 ? 1 : 2));
    simulation.run(12_000);
    const [first] = simulation.nodes;
    for (const name of ['node-2', 'node-3', 'node-4']) assert.equal(first.observed.states.get(name), 'dead');
    for (const node of simulation.nodes) fill(node, 5, simulation.now, 100);
    simulation.heal();
    assertAgrees(simulation);
  });

  it('a node whose counter of starts was lost goes on above what others remember', () => {
    const simulation = joined(3, 10);
    assertAgrees(simulation);
    const [first, second] = simulation.nodes;
    second.incarnation = 7;
    simulation.restart(second);
    fill(second, 4, simulation.now);
    assertAgrees(simulation);
    second.incarnation = 0;
    simulation.restart(second);
    fill(second, 3, simulation.now);
    assertAgrees(simulation);
    assert.ok(second.observed.incarnation > 8);
    assert.equal(first.observed.records.get('node-1')?.size, 3);
  });

  it('a copy that differs under the same number is made anew', () => {
    const simulation = joined(3, 10);
    assertAgrees(simulation);
    const [first, second] = simulation.nodes;
    const copy = first.replica.members.get(second.name)!.part;
    copy.hash = (copy.hash + 1) >>> 0;
    assert.equal(simulation.agrees(), false);
    assertAgrees(simulation);
    assert.equal(first.observed.records.get('node-1')?.size, 10);
  });

  it('agrees after tombstones were forgotten while a node was cut off', () => {
    const simulation = joined(3, 10);
    assertAgrees(simulation);
    simulation.cut((node) => node.index);
    const [first, second] = simulation.nodes;
    second.replica.write('node-1-agent-3', null, simulation.now);
    for (let i = 0; i < 4000; i++) {
      second.replica.write(`visitor-${i}`, Buffer.from('x'), simulation.now);
      second.replica.write(`visitor-${i}`, null, simulation.now);
    }
    simulation.run(6000);
    simulation.heal();
    assertAgrees(simulation);
    assert.equal(first.observed.records.get('node-1')?.has('node-1-agent-3'), false);
  });

  it('whatever happens, in any order: those who are up agree in the end', () => {
    const event = fc.record({
      what: fc.constantFrom('write', 'remove', 'kill', 'restart', 'leave', 'cut', 'heal', 'wait'),
      node: fc.integer({ min: 0, max: 3 }),
      much: fc.integer({ min: 1, max: 30 }),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 25 }), fc.integer(), (events, seed) => {
        const simulation = new Simulation({
          nodes: 4,
          weather: { minDelay: 1, maxDelay: 50, loss: 0.05 },
          seed,
        });
        for (const node of simulation.nodes) simulation.greet(node);
        for (const { what, node: at, much } of events) {
          const node = simulation.nodes[at];
          if (what === 'write' && node.up) fill(node, much, simulation.now, much);
          else if (what === 'remove' && node.up)
            node.replica.write(`${node.name}-agent-${much}`, null, simulation.now);
          else if (what === 'kill') simulation.kill(node);
          else if (what === 'restart' && !node.up) simulation.restart(node);
          else if (what === 'leave' && node.up) {
            node.replica.leave();
            simulation.kill(node);
          } else if (what === 'cut') simulation.cut(({ index }) => index & much);
          else if (what === 'heal') simulation.heal();
          simulation.run(much * 100);
        }
        simulation.heal();
        assertAgrees(simulation, 40_000);
      }),
      { numRuns: 100 },
    );
  });
});

/** One replica by itself, and what it says. */
class Rig {
  now = 0;
  readonly gossiped: GossipMessage[] = [];
  readonly sent: [string, DirectMessage][] = [];
  readonly records = new Map<string, string | null>();
  readonly states = new Map<string, string>();
  reachable = ['other', 'third'];
  readonly replica: Replica;

  constructor() {
    this.replica = new Replica(
      'me',
      1,
      {
        gossip: (message) => this.gossiped.push(message),
        send: (node, message) => this.reachable.includes(node) && this.sent.push([node, message]) > 0,
        neighbours: () => this.reachable,
      },
      {
        onRecord: (node, key, value) => this.records.set(`${node} ${key}`, value?.toString() ?? null),
        onState: (node, state) => this.states.set(node, state),
        onIncarnation: () => {},
      },
      0,
      TIMING,
      () => 0,
    );
  }

  hear(from: number, keys: string, more: Partial<Changes> = {}): void {
    const changes = [...keys].map((key, i) => ({ key, value: Buffer.from(key), sequence: from + i + 1 }));
    this.replica.receive(
      null,
      {
        type: 'changes',
        node: 'other',
        incarnation: 1,
        from,
        to: from + keys.length,
        reset: false,
        floor: 0,
        last: true,
        changes,
        ...more,
      },
      this.now,
    );
  }

  wait(time: number): void {
    for (const end = this.now + time; this.now < end; ) {
      this.now += 10;
      this.replica.tick(this.now);
    }
  }

  pulls(): DirectMessage[] {
    return this.sent.map(([, message]) => message).filter(({ type }) => type === 'pull');
  }
}

describe('Replica, message by message', () => {
  it('takes nothing in behind a gap, and pulls what is missing once', () => {
    const rig = new Rig();
    rig.hear(0, 'ab');
    rig.hear(3, 'd');
    assert.deepEqual([...rig.records.keys()], ['other a', 'other b']);
    assert.equal(rig.replica.members.get('other')?.part.sequence, 2);
    rig.wait(1000);
    assert.deepEqual(rig.pulls(), [{ type: 'pull', node: 'other', incarnation: 1, since: 2, floor: 0 }]);
  });

  it('waits a moment for gossip that was overtaken', () => {
    const rig = new Rig();
    rig.hear(2, 'c');
    rig.wait(100);
    rig.hear(0, 'ab');
    rig.hear(2, 'c');
    rig.wait(1000);
    assert.deepEqual(rig.pulls(), []);
    assert.equal(rig.records.size, 3);
  });

  it('asks for the next page as soon as one is there, and knows by the numbers what changed back', () => {
    const rig = new Rig();
    rig.hear(9, 'j');
    rig.wait(300);
    assert.equal(rig.pulls().length, 1);
    const page: Changes = {
      type: 'changes',
      node: 'other',
      incarnation: 1,
      from: 0,
      to: 5,
      reset: false,
      floor: 0,
      last: false,
      changes: [{ key: 'a', value: Buffer.from('a'), sequence: 3 }],
    };
    rig.replica.receive('other', page, rig.now);
    assert.deepEqual(rig.pulls()[1], { type: 'pull', node: 'other', incarnation: 1, since: 5, floor: 0 });
  });

  it('beats at once when it learns that it is held for suspect, and only then', () => {
    const rig = new Rig();
    const news = { node: 'me', incarnation: 1, beat: 40, sequence: 0, hash: 0 };
    rig.replica.receive('other', { type: 'digest', answer: false, nodes: [{ ...news, state: 'alive' }] }, 0);
    assert.deepEqual(rig.gossiped, []);
    rig.replica.receive(
      'other',
      { type: 'digest', answer: false, nodes: [{ ...news, state: 'suspect' }] },
      0,
    );
    assert.equal(rig.gossiped.length, 1);
    assert.equal((rig.gossiped[0] as { beat: number }).beat, 41);
  });

  it('holds for alive whoever is heard on another way, but not one that has left', () => {
    const rig = new Rig();
    rig.hear(0, 'a');
    for (let time = 0; time < 20_000; time += 1000) {
      rig.wait(1000);
      rig.replica.heard('other', rig.now);
    }
    assert.equal(rig.states.get('other'), 'alive');
    rig.wait(TIMING.suspectAfter);
    assert.equal(rig.states.get('other'), 'suspect');
    rig.replica.heard('other', rig.now);
    assert.equal(rig.states.get('other'), 'alive');
    rig.replica.receive(null, { type: 'farewell', node: 'other', incarnation: 1, beat: 99 }, rig.now);
    rig.replica.heard('other', rig.now + 1);
    assert.equal(rig.states.get('other'), 'left');
  });

  it('asks somebody else soon, when whoever was asked may know nothing', () => {
    const rig = new Rig();
    rig.replica.receive('other', { type: 'digest', answer: false, nodes: [] }, 0);
    const news = { node: 'far', incarnation: 1, beat: 1, sequence: 5, hash: 1 };
    rig.reachable = ['third'];
    rig.replica.receive(null, { type: 'heartbeat', ...news }, 0);
    rig.wait(TIMING.patience + 2 * TIMING.guessTimeout + 100);
    const pulls = rig.sent.filter(([, { type }]) => type === 'pull');
    assert.deepEqual(new Set(pulls.map(([node]) => node)), new Set(['third']));
    assert.ok(pulls.length >= 2, `${pulls.length}`);
  });

  it('answers a digest with its own when it is asked to', () => {
    const rig = new Rig();
    rig.replica.receive('other', { type: 'digest', answer: true, nodes: [] }, 0);
    rig.replica.receive('other', { type: 'digest', answer: false, nodes: [] }, 0);
    assert.deepEqual(
      rig.sent.map(([node, { type }]) => [node, type]),
      [['other', 'digest']],
    );
    rig.replica.connected('third');
    assert.deepEqual([rig.sent[1][0], (rig.sent[1][1] as { answer: boolean }).answer], ['third', true]);
  });

  it('does not let a heartbeat overtake the changes that it counts', () => {
    const rig = new Rig();
    rig.wait(TIMING.heartbeat - 10);
    rig.replica.write('a', Buffer.from('x'), rig.now);
    rig.wait(10);
    assert.deepEqual(
      rig.gossiped.map(({ type }) => type),
      ['changes', 'heartbeat'],
    );
  });

  it('puts the changes of a moment together', () => {
    const rig = new Rig();
    for (const key of 'abc') rig.replica.write(key, Buffer.from(key), rig.now);
    rig.wait(40);
    assert.equal(rig.gossiped.length, 0);
    rig.wait(10);
    assert.equal(rig.gossiped.length, 1);
    assert.equal((rig.gossiped[0] as Changes).changes.length, 3);
  });

  it('what was said before a farewell, and comes after it, changes nothing; a new start does', () => {
    const rig = new Rig();
    rig.hear(0, 'ab');
    rig.replica.receive(
      null,
      { type: 'heartbeat', node: 'other', incarnation: 1, beat: 5, sequence: 2, hash: 0 },
      0,
    );
    rig.replica.receive(null, { type: 'farewell', node: 'other', incarnation: 1, beat: 4 }, 0);
    assert.equal(rig.states.get('other'), 'alive');
    rig.replica.receive(null, { type: 'farewell', node: 'other', incarnation: 1, beat: 6 }, 0);
    assert.equal(rig.states.get('other'), 'left');
    assert.deepEqual([...rig.records.values()], [null, null]);
    rig.hear(0, 'ab');
    assert.deepEqual([...rig.records.values()], [null, null]);
    rig.hear(0, 'c', { incarnation: 2 });
    assert.equal(rig.states.get('other'), 'alive');
    assert.equal(rig.records.get('other c'), 'c');
    rig.hear(1, 'd', { incarnation: 1 });
    assert.equal(rig.records.has('other d'), false);
  });

  it('hands out a part beyond its floor page by page, and who stopped before the floor copies anew', () => {
    const rig = new Rig();
    // The records that are there stand before the tombstones, most of which are forgotten.
    for (let i = 0; i < 1000; i++) rig.replica.write(`key-${i}`, Buffer.alloc(100), 0);
    for (let i = 0; i < 8000; i++) {
      rig.replica.write(`gone-${i}`, Buffer.from('x'), 0);
      rig.replica.write(`gone-${i}`, null, 0);
    }
    const { part } = rig.replica;
    assert.ok(part.floor > 2000);
    const copy = new Part();
    let since = 100;
    let floor = 0;
    let pages = 0;
    for (let last = false; !last; pages++) {
      assert.ok(pages < 100, 'it never ends');
      rig.replica.receive('other', { type: 'pull', node: 'me', incarnation: 1, since, floor }, 0);
      const page = rig.sent[pages][1] as Changes;
      assert.equal(page.reset, true);
      assert.equal(page.from, pages === 0 ? 0 : since);
      for (const change of page.changes) copy.apply(change);
      copy.reach(page.to);
      ({ last, floor } = page);
      since = page.to;
    }
    assert.ok(pages > 3);
    assert.equal(copy.hash, part.hash);
    rig.replica.receive(
      'other',
      { type: 'pull', node: 'me', incarnation: 1, since: part.sequence - 5, floor: 0 },
      0,
    );
    assert.equal((rig.sent[pages][1] as Changes).reset, false);
  });

  it('a copy that was made anew hands on no more than it knows', () => {
    const rig = new Rig();
    const record = (key: string, sequence: number) => ({ key, value: Buffer.from(key), sequence });
    rig.hear(0, '', { reset: true, floor: 50, to: 60, changes: [record('a', 10), record('b', 60)] });
    rig.replica.receive('third', { type: 'pull', node: 'other', incarnation: 1, since: 20, floor: 0 }, 0);
    const page = rig.sent[0][1] as Changes;
    assert.deepEqual([page.reset, page.from, page.changes.length], [true, 0, 2]);
  });
});
