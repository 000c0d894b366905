import assert from 'node:assert/strict';
import type { Agent, Gap } from '../../lib/client/index.js';
import type { RunningNode } from '../../shards/primary.js';
import {
  assertGone,
  closeAgents,
  isLive,
  join,
  leftoversOf,
  metric,
  nameOn,
  pidOf,
  startBroker,
  until,
} from '../integration/broker/node.js';

const LANES = ['critical', 'high', 'normal', 'low', 'background'] as const;

function incarnation(node: RunningNode, slot: number): number {
  return node.processes().find((shard) => shard.slot === slot)?.incarnation ?? 0;
}

/** Publishes in every lane once a turn until `stop`, and notes what comes back. */
class Traffic {
  readonly publisher: Agent;
  readonly gaps: Gap[] = [];
  received = 0;
  readonly wrong: string[] = [];
  private readonly last = new Map<string, number>();
  private readonly timer: NodeJS.Timeout;
  private sent = 0;

  constructor(publisher: Agent, topic: string) {
    this.publisher = publisher;
    this.timer = setInterval(() => {
      this.sent++;
      for (const priority of LANES) publisher.publish(topic, this.sent, { priority });
    }, 1);
  }

  async listen(subscriber: Agent, topic: string): Promise<void> {
    subscriber.on('gap', (gap) => this.gaps.push(gap));
    await subscriber.subscribe(topic, (message) => {
      const number = message.json<number>();
      const before = this.last.get(message.priority) ?? number - 1;
      if (number !== before + 1) this.wrong.push(`${message.priority}: ${number} after ${before}`);
      this.last.set(message.priority, number);
      this.received++;
    });
  }

  end(): void {
    clearInterval(this.timer);
  }

  /** Stops; resolves when all lanes have brought the last one. */
  async stop(): Promise<void> {
    this.end();
    await until('the last', () => LANES.every((lane) => this.last.get(lane) === this.sent));
  }
}

describe('kill -9 of a shard', function () {
  this.timeout(60_000);
  let node: RunningNode;
  const timing = { backoffMin: 20, backoffMax: 20 };

  let traffic: Traffic | null = null;

  afterEach(async () => {
    traffic?.end();
    traffic = null;
    await closeAgents();
    const leftovers = leftoversOf(node);
    await node.stop();
    assertGone(leftovers);
  });

  for (const links of ['auto', 'unix-socket'] as const) {
    it(`leaves the other shard’s agents alone, and brings its own back (links: ${links})`, async () => {
      node = await startBroker({ links }, { timing });
      const victim = 1;
      const near = await join(node.url, nameOn(0, 'near'));
      const nearSubscriber = await join(node.url, nameOn(0, 'near-subscriber'));
      const far = await join(node.url, { agentId: nameOn(1, 'far'), reconnect: { minDelay: 20 } });
      const farSubscriber = await join(node.url, {
        agentId: nameOn(1, 'far-subscriber'),
        reconnect: { minDelay: 20 },
      });
      const broken: string[] = [];
      for (const agent of [near, nearSubscriber]) {
        agent.on('disconnect', ({ code }) => broken.push(code));
        agent.on('gap', ({ reason }) => broken.push(reason));
      }
      const gaps: Gap[] = [];
      farSubscriber.on('gap', (gap) => gaps.push(gap));
      const back: string[] = [];
      for (const agent of [far, farSubscriber]) agent.on('reconnect', () => back.push(agent.agentId));
      const fromNear: number[] = [];
      const fromFar: number[] = [];
      await farSubscriber.subscribe('to.far', (message) => fromNear.push(message.json<number>()));
      await nearSubscriber.subscribe('to.near', (message) => fromFar.push(message.json<number>()));
      const presence: string[] = [];
      await nearSubscriber.subscribe('system.agent.*.*', ({ topic }) => presence.push(topic));

      const own = new Traffic(near, 'own.x');
      traffic = own;
      await own.listen(nearSubscriber, 'own.x');
      await until('traffic', () => own.received > 200);
      near.publish('to.far', 1);
      far.publish('to.near', 1);
      await until('both ways', () => fromNear.length === 1 && fromFar.length === 1);
      const published = () => metric(node, 'flowbus_publishes_total', 'worker="1"');
      await until('its counter', async () => (await published()) === 1);

      process.kill(pidOf(node, victim), 'SIGKILL');
      await until('the agents to be back', () => back.length === 2);
      await until('the shard to be back', () => isLive(node, victim) && incarnation(node, victim) === 2);
      const after = own.received;
      await until('traffic to go on', () => own.received > after + 200);
      await own.stop();
      assert.deepEqual(own.wrong, []);
      assert.deepEqual(broken, []);

      // Subscriptions are back; what was lost meanwhile is reported as a gap of unknown size.
      assert.deepEqual(gaps, [{ missed: undefined, reason: 'session-lost' }]);
      near.publish('to.far', 2);
      far.publish('to.near', 2);
      await until('both ways', () => fromNear.length === 2 && fromFar.length === 2);
      assert.deepEqual(fromNear, [1, 2]);
      assert.deepEqual(fromFar, [1, 2]);
      // Its counters have survived.
      assert.ok((await published()) >= 1);
      // Each came back once; and went before that, unless it came to the other shard ahead of the news of its own.
      for (const agent of [far, farSubscriber]) {
        const comings = presence.filter((topic) => topic.includes(`.${agent.agentId}.`));
        assert.match(comings.map((topic) => topic.split('.')[3]).join(), /^(offline,)?online$/);
      }
    });

    it(`works in all lanes with each new incarnation, whichever shard dies (links: ${links})`, async () => {
      node = await startBroker({ links }, { timing });
      const rounds = 4;
      for (let round = 1; round <= rounds; round++) {
        const victim = round % 2;
        const before = incarnation(node, victim);
        process.kill(pidOf(node, victim), 'SIGKILL');
        await until('the shard', () => isLive(node, victim) && incarnation(node, victim) === before + 1);
        const agents = await Promise.all(
          [0, 1].map((slot) => join(node.url, nameOn(slot, `round-${round}`))),
        );
        const got: string[][] = [[], []];
        for (const [slot, agent] of agents.entries()) {
          await agent.subscribe(`round.${slot}`, ({ priority }) => got[slot].push(priority));
          const [{ shard }] = await agents[0].agents({ id: agent.agentId });
          assert.equal(shard, slot);
        }
        for (const [slot, agent] of agents.entries()) {
          for (const priority of LANES) agent.publish(`round.${1 - slot}`, '', { priority });
        }
        await until(
          () => `all lanes, round ${round}: ${JSON.stringify(got)}`,
          () => got.every((priorities) => priorities.length === LANES.length),
        );
        await closeAgents();
      }
    });
  }

  it('lets subscribe() resolve that waited for the shard, and fails requests to its agents', async () => {
    node = await startBroker({}, { timing });
    const near = await join(node.url, nameOn(0, 'near'));
    const far = await join(node.url, { agentId: nameOn(1, 'far'), reconnect: false });
    far.on('message', () => {});
    const pid = pidOf(node, 1);
    process.kill(pid, 'SIGSTOP');
    const subscribing = near.subscribe('waits.*', () => {});
    const request = near.request(far.agentId, 'x', { timeout: 1000 });
    const failure = assert.rejects(request, ({ code }: { code: string }) =>
      ['TIMEOUT', 'UNKNOWN_AGENT'].includes(code),
    );
    await near.agents({ id: 'nobody' });
    process.kill(pid, 'SIGKILL');
    await subscribing;
    await failure;
    await until(
      'far to be offline',
      async () => (await near.agents({ id: far.agentId }))[0].state === 'offline',
    );
    await assert.rejects(near.request(far.agentId, 'x'), { code: 'UNKNOWN_AGENT' });
  });
});
