import assert from 'node:assert/strict';
import type { Message } from '../../../lib/client/index.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, join, metric, nameOn, pidOf, startBroker, until } from './node.js';
import { closeSockets, RawAgent } from './raw-agent.js';

const TOPICS = ['a', 'a.b', 'a.b.c', 'a.x.c', 'a.b.c.d', 'b.c', 'b.a.b', 'über.b'];

/** What each pattern matches of TOPICS, by hand. */
const MATCHES: Record<string, string[]> = {
  a: ['a'],
  'a.b': ['a.b'],
  'a.b.c': ['a.b.c'],
  '*': ['a'],
  '*.b': ['a.b', 'über.b'],
  'a.*': ['a.b'],
  'a.*.c': ['a.b.c', 'a.x.c'],
  '**': TOPICS,
  'a.**': ['a', 'a.b', 'a.b.c', 'a.x.c', 'a.b.c.d'],
  '**.c': ['a.b.c', 'a.x.c', 'b.c'],
  'a.**.c': ['a.b.c', 'a.x.c'],
  '**.b.**': ['a.b', 'a.b.c', 'a.b.c.d', 'b.c', 'b.a.b', 'über.b'],
  '*.*.**': TOPICS.slice(1),
  'über.*': ['über.b'],
  'c.**': [],
};

describe('routing', () => {
  let node: RunningNode;
  before(async () => {
    node = await startBroker();
  });
  after(() => node.stop());
  afterEach(async () => {
    await closeSockets();
    await closeAgents();
  });

  it('takes every topic to exactly the patterns that match it, on both shards', async () => {
    const takers: { pattern: string; agent: RawAgent }[] = [];
    for (const slot of [0, 1]) {
      for (const pattern of Object.keys(MATCHES)) {
        const agentId = nameOn(slot, `taker-${takers.length}`);
        const hello = { agentId, subscriptions: [pattern, 'end'] };
        takers.push({ pattern, agent: await RawAgent.join(`${node.url}?agentId=${agentId}`, hello) });
        assert.equal(takers.at(-1)?.agent.welcome?.shard, slot);
      }
    }
    const publisher = await join(node.url, nameOn(0, 'publisher'));
    // The third time, topics have ids: spelled out and by id they must go the same way.
    for (let round = 1; round <= 3; round++) {
      for (const topic of TOPICS) publisher.publish(topic, `${topic} ${round}`);
      publisher.publish('end', '');
      for (const { pattern, agent } of takers) {
        const ends = () => agent.messages.filter(({ topic }) => topic === 'end').length;
        await until(`end ${round} for ${pattern}`, () => ends() === round);
      }
    }
    for (const { pattern, agent } of takers) {
      const got = agent.messages.filter(({ topic }) => topic !== 'end' && !topic.startsWith('system.'));
      const expected = [1, 2, 3].flatMap((round) =>
        MATCHES[pattern].map((topic) => ({ topic, text: `${topic} ${round}`, lane: 2 })),
      );
      assert.deepEqual(got, expected, pattern);
      assert.deepEqual(agent.errors, []);
    }
  });

  it('sends one copy to an agent, however many of its subscriptions match, and calls each handler once', async () => {
    for (const slot of [0, 1]) {
      const agent = await join(node.url, nameOn(slot, 'many'));
      const calls: string[] = [];
      for (const pattern of ['jobs.*', 'jobs.**', '**.new', 'jobs.new']) {
        await agent.subscribe(pattern, () => calls.push(pattern));
      }
      await agent.subscribe('jobs.new', () => calls.push('jobs.new again'));
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      publisher.publish('jobs.new', 'x');
      publisher.publish('jobs.old', 'x');
      await until('the second', () => calls.length === 7);
      assert.deepEqual(calls, [
        'jobs.*',
        'jobs.**',
        '**.new',
        'jobs.new',
        'jobs.new again',
        'jobs.*',
        'jobs.**',
      ]);
      assert.equal(agent.counts.received, 2);
      await closeAgents();
    }
  });

  it('stops sending with unsubscribe, but to nobody else', async () => {
    const leaver = await join(node.url, nameOn(1, 'leaver'));
    const stayer = await join(node.url, nameOn(1, 'stayer'));
    const publishers = [
      await join(node.url, nameOn(0, 'publisher')),
      await join(node.url, nameOn(1, 'publisher')),
    ];
    const got: string[] = [];
    const subscription = await leaver.subscribe('news.*', (message) => got.push(message.text()));
    await leaver.subscribe('end', (message) => got.push(message.text()));
    const kept: string[] = [];
    await stayer.subscribe('news.*', (message) => kept.push(message.text()));
    for (const [index, publisher] of publishers.entries()) publisher.publish('news.a', `before ${index}`);
    await until('both', () => got.length === 2);
    await subscription.unsubscribe();
    for (const [index, publisher] of publishers.entries()) {
      publisher.publish('news.a', `after ${index}`);
      publisher.publish('end', 'end');
    }
    await until('the ends', () => got.length === 4 && kept.length === 4);
    assert.deepEqual(got.slice(2), ['end', 'end']);
    assert.equal(leaver.counts.received, 4);
    assert.deepEqual(kept.sort(), ['after 0', 'after 1', 'before 0', 'before 1']);
  });

  it('keeps a subscription until its last handler is gone', async () => {
    const agent = await join(node.url, nameOn(0, 'two-handlers'));
    const publisher = await join(node.url, nameOn(1, 'publisher'));
    const got: string[] = [];
    const first = await agent.subscribe('twice', () => got.push('first'));
    await agent.subscribe('twice', () => got.push('second'));
    await first.unsubscribe();
    publisher.publish('twice', '');
    await until('the message', () => got.length > 0);
    assert.deepEqual(got, ['second']);
  });

  it('resolves subscribe() only when every shard has applied it', async () => {
    const subscriber = await join(node.url, nameOn(0, 'subscriber'));
    const publisher = await join(node.url, nameOn(1, 'publisher'));
    const got: string[] = [];
    const pid = pidOf(node, 1);
    process.kill(pid, 'SIGSTOP');
    try {
      let resolved = false;
      const subscribing = subscriber
        .subscribe('frozen.*', (message) => got.push(message.text()))
        .then(() => {
          resolved = true;
        });
      // Its own shard answers what was asked behind it.
      for (let i = 0; i < 20; i++) await subscriber.agents({ id: 'nobody' });
      assert.equal(resolved, false);
      process.kill(pid, 'SIGCONT');
      await subscribing;
      publisher.publish('frozen.x', 'x');
      await until('the message', () => got.length === 1);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });

  it('delivers what another shard’s agent publishes right after subscribe() resolved', async () => {
    const subscriber = await join(node.url, nameOn(0, 'subscriber'));
    const publisher = await join(node.url, nameOn(1, 'publisher'));
    let count = 0;
    for (let i = 0; i < 300; i++) {
      await subscriber.subscribe(`fresh.${i}`, () => count++);
      publisher.publish(`fresh.${i}`, '');
    }
    await until('all', () => count === 300, 2000);
  });

  it('sends a message only to shards that have takers', async () => {
    const frames = () => metric(node, 'flowbus_link_frames_total', 'direction="out"');
    const publisher = await join(node.url, nameOn(0, 'publisher'));
    const near = await join(node.url, nameOn(0, 'near'));
    const far = await join(node.url, nameOn(1, 'far'));
    let count = 0;
    await near.subscribe('local.*', () => count++);
    await far.subscribe('other.*', () => count++);
    const before = await frames();
    for (let i = 0; i < 100; i++) publisher.publish('local.x', '');
    for (let i = 0; i < 100; i++) publisher.publish('nobody.x', '');
    await until('all', () => count === 100);
    assert.equal((await frames()) - before, 0);
    const subscription = await far.subscribe('local.**', () => count++);
    for (let i = 0; i < 100; i++) publisher.publish('local.x', '');
    await until('both', () => count === 300);
    assert.equal((await frames()) - before, 100);
    await subscription.unsubscribe();
    for (let i = 0; i < 100; i++) publisher.publish('local.x', '');
    await until('the near one', () => count === 400);
    assert.equal((await frames()) - before, 100);
    // An agent that leaves takes its interest along.
    await far.subscribe('local.x', () => count++);
    await far.close();
    await until('its end', async () => {
      const [record] = await near.agents({ id: far.agentId });
      return record.state === 'offline';
    });
    for (let i = 0; i < 100; i++) publisher.publish('local.x', '');
    await until('the near one', () => count === 500);
    assert.equal((await frames()) - before, 100);
  });

  it('delivers to the publisher itself what it subscribed to', async () => {
    const agent = await join(node.url, nameOn(0, 'self'));
    const got: Message[] = [];
    await agent.subscribe('self.*', (message) => got.push(message));
    agent.publish('self.x', 'hello me');
    await until('the message', () => got.length === 1);
    assert.equal(got[0].from, agent.agentId);
    assert.equal(got[0].text(), 'hello me');
  });

  it('keeps the order per publisher and lane, on the way to both shards', async () => {
    const lanes = ['critical', 'normal', 'background'] as const;
    const publishers = [
      await join(node.url, nameOn(0, 'publisher')),
      await join(node.url, nameOn(1, 'publisher')),
    ];
    const wrong: string[] = [];
    const counts = [0, 0];
    for (const slot of [0, 1]) {
      const subscriber = await join(node.url, nameOn(slot, 'subscriber'));
      const last = new Map<string, number>();
      await subscriber.subscribe('order.**', (message) => {
        const { from, priority, sequence } = message;
        const number = message.json<number>();
        const path = `${from} ${priority}`;
        const numbered = `${path} ${message.topic}`;
        if (number !== (last.get(path) ?? -1) + 1) wrong.push(`${path}: ${number} after ${last.get(path)}`);
        if (sequence !== (last.get(numbered) ?? 0) + 1) wrong.push(`${numbered}: sequence ${sequence}`);
        last.set(path, number);
        last.set(numbered, sequence);
        counts[slot]++;
      });
    }
    const total = 2000;
    for (let i = 0; i < total; i++) {
      for (const publisher of publishers) {
        for (const priority of lanes) {
          // Runs of one topic, and changes between an id and a topic spelled out.
          const topic = i % 7 === 0 ? `order.single.${i}` : `order.${(i >> 4) & 3}`;
          publisher.publish(topic, i, { priority, ttl: i % 5 === 0 ? 60_000 : undefined });
        }
      }
      if (i % 100 === 0) await Promise.all(publishers.map((publisher) => publisher.drained()));
    }
    const expected = total * publishers.length * lanes.length;
    await until(
      () => `all of ${expected}: ${counts}`,
      () => counts[0] === expected && counts[1] === expected,
    );
    assert.deepEqual(wrong, []);
  });

  it('broadcasts to 50 agents, and sends to one alone', async () => {
    const got = new Map<string, string[]>();
    const agents = await Promise.all(
      Array.from({ length: 50 }, async (_, number) => {
        const agent = await join(node.url, `member-${number}`);
        const texts: string[] = [];
        got.set(agent.agentId, texts);
        agent.on('message', (message) => {
          texts.push(`own ${message.text()}`);
        });
        await agent.subscribe('all.hands', (message) => texts.push(message.text()));
        return agent;
      }),
    );
    const shards = new Set((await agents[0].agents({ type: 'agent' })).map(({ shard }) => shard));
    assert.equal(shards.size, 2);
    agents[7].send('member-30', 'psst');
    agents[7].publish('all.hands', 'hello');
    await until('everybody', () => [...got.values()].every((texts) => texts.includes('hello')));
    for (const [agentId, texts] of got) {
      assert.deepEqual(texts, agentId === 'member-30' ? ['own psst', 'hello'] : ['hello'], agentId);
    }
  });

  it('routes on more topics than its table holds, and applies later subscriptions to all of them', async () => {
    const small = await startBroker({ maxTopics: 1024 });
    try {
      const publisher = await join(small.url, nameOn(0, 'publisher'));
      const early = [await join(small.url, nameOn(0, 'early')), await join(small.url, nameOn(1, 'early'))];
      const late = await join(small.url, nameOn(1, 'late'));
      const counts = [0, 0, 0];
      for (const [index, agent] of early.entries()) await agent.subscribe('wide.**', () => counts[index]++);
      const publishAll = () => {
        for (let round = 0; round < 3; round++) {
          for (let i = 0; i < 3000; i++) publisher.publish(`wide.${i}.x`, '');
        }
      };
      publishAll();
      await until('all', () => counts[0] === 9000 && counts[1] === 9000);
      await late.subscribe('wide.*.x', () => counts[2]++);
      publishAll();
      await until('all again', () => counts.join() === '18000,18000,9000');
    } finally {
      await closeAgents();
      await small.stop();
    }
  });
});
