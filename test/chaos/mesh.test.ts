/** Five brokers on five machines, as far as the network goes, and what it does to them. Needs root and iproute2, and skips itself without. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../integration/broker/node.js';
import type { CrewView } from './crew-program.js';
import { Machine } from './machine.js';
import { Network } from './network.js';

/** How long each fault goes on happening; once at least. */
const SECONDS = Number(process.env.FLOWBUS_CHAOS_SECONDS ?? 0);
const MACHINES = 5;
/** Of a frame on its way (ms). */
const DELAY = 200;
/** A quiet machine needs less than 5 s. */
const LIMIT = 45_000;

describe('a cluster on a network with faults', function () {
  this.timeout(SECONDS * 1000 + 120_000);
  let network: Network | null;
  let dir: string;
  let machines: Machine[] = [];

  /** What is wrong with what these see, when they are all that they shall see; null: nothing. */
  function flaw(views: readonly CrewView[], seen: readonly Machine[], others: string): string | null {
    const agents = seen.flatMap((machine) => machine.agents).sort();
    const nodes = machines
      .map((machine) => `${machine.node} ${seen.includes(machine) ? 'alive' : others}`)
      .sort();
    for (const [i, view] of views.entries()) {
      const who = seen[i].node;
      if (String(view.nodes) !== String(nodes)) return `${who} knows of nodes ${view.nodes}`;
      for (const online of view.online)
        if (String(online) !== String(agents)) return `on ${who} online: ${online}`;
      for (const heard of view.heard)
        if (agents.some((agent) => !heard.includes(agent))) return `on ${who} heard: ${heard}`;
    }
    return null;
  }

  const viewsOf = (some: readonly Machine[]) => Promise.all(some.map((machine) => machine.view()));
  const mark = () => Promise.all(machines.map((machine) => machine.mark()));

  /** From now on: these see each other's nodes and agents and no other as living, and each hears each. */
  async function untilWhole(after: string, some: readonly Machine[] = machines, others = ''): Promise<void> {
    const begin = performance.now();
    await mark();
    let wrong: string | null = null;
    await until(
      () => `whole after ${after}: ${wrong}`,
      async () => {
        wrong = flaw(await viewsOf(some), some, others);
        if (wrong !== null) await pause(100);
        return wrong === null;
      },
      LIMIT,
    );
    console.log(`      ${after}: whole after ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  }

  /** Each agent of these asks each other one, and gets an answer. */
  async function assertAllAnswer(some: readonly Machine[] = machines): Promise<void> {
    const names = some.flatMap(({ agents }) => agents);
    const failed = await Promise.all(some.map((machine) => machine.ask(names)));
    assert.deepEqual(failed.flat(), []);
  }

  /** Since the last mark no agent has lost or got again what another said. */
  async function assertNothingMissed(): Promise<void> {
    const views = await viewsOf(machines);
    assert.deepEqual(
      views.flatMap(({ wrong }) => wrong),
      [],
    );
  }

  /** Once, or for as long as was asked for. */
  async function again(fault: (round: number) => Promise<void>): Promise<void> {
    const end = performance.now() + SECONDS * 1000;
    let round = 0;
    do await fault(round++);
    while (performance.now() < end);
  }

  before(async function () {
    network = await Network.make(MACHINES);
    if (network === null) {
      console.log('      network namespaces cannot be made here: skipped');
      this.skip();
    }
    const net = network;
    dir = mkdtempSync(joinPath(tmpdir(), 'flowbus-network-'));
    // Each knows the one before it, and the first nobody.
    machines = Array.from({ length: MACHINES }, (_, i) => new Machine(net, i, Math.max(0, i - 1), dir));
    // One after the other: all at once are slow to start on few cores.
    const manned: Promise<void>[] = [];
    for (const machine of machines) {
      await machine.start();
      manned.push(machine.man());
    }
    await Promise.all(manned);
    await untilWhole('the start');
  });
  after(async () => {
    const stopped = await Promise.allSettled(machines.map((machine) => machine.stop()));
    await network?.close();
    if (dir !== undefined) rmSync(dir, { recursive: true });
    for (const result of stopped) if (result.status === 'rejected') throw result.reason;
  });
  afterEach(() => network?.heal());

  it('is two clusters while two nodes are parted from three, and one again afterwards', () =>
    again(async (round) => {
      const few = [round % MACHINES, (round + 1) % MACHINES];
      const many = machines.map((_, i) => i).filter((i) => !few.includes(i));
      await network!.set({ cut: few.flatMap((i) => many.map((j) => [i, j] as const)) });
      const sides = [few, many].map((side) => side.map((i) => machines[i]));
      for (const side of sides) await untilWhole('parting', side, 'dead');
      for (const side of sides) await assertAllAnswer(side);
      await network!.heal();
      await untilWhole('healing');
      await assertAllAnswer();
    }));

  it('loses and repeats nothing where two nodes do not reach each other for some seconds, and the others go on', () =>
    again(async (round) => {
      const [a, b] = [round % MACHINES, (round + 2) % MACHINES];
      await mark();
      await network!.set({ cut: [[a, b]] });
      // Longer than a link keeps a silent stream.
      await pause(5000);
      // The others hold neither for dead, and neither the other.
      const all = machines.flatMap(({ agents }) => agents).sort();
      for (const { online } of await viewsOf(machines))
        for (const seen of online) assert.deepEqual(seen, all);
      const bystanders = machines.filter((_, i) => i !== a && i !== b);
      await assertAllAnswer(bystanders);
      await network!.heal();
      await until(
        'the two on each other again',
        async () => (await machines[a].ask([...machines[b].agents])).length === 0,
        LIMIT,
      );
      await assertNothingMissed();
      await untilWhole('a black hole');
      await assertAllAnswer();
    }));

  it('goes on while one frame in ten gets lost and each takes 200 ms', () =>
    again(async () => {
      await network!.set({ loss: 10, delay: DELAY });
      await untilWhole('10 % loss and 200 ms began');
      const begin = performance.now();
      await assertAllAnswer();
      assert.ok(performance.now() - begin >= 2 * DELAY, 'the network is slow');
      await pause(3000);
      await network!.heal();
      await assertAllAnswer();
      await assertNothingMissed();
      await untilWhole('10 % loss and 200 ms ended');
    }));

  it('takes back each node that is killed under load', () =>
    again(async () => {
      for (const machine of machines) {
        await machine.kill();
        await machine.start();
        await untilWhole(`kill -9 of ${machine.node}`);
      }
      await assertAllAnswer();
    }));
});
