import assert from 'node:assert/strict';
import type { Agent, Gap, Message, SubscribeOptions } from '../../../lib/client/index.js';
import { type ErrorCode, FlowbusError } from '../../../lib/errors.js';
import { LANES } from '../../../lib/wire/frame.js';
import type { RunningNode } from '../../../shards/primary.js';
import { EventReader, type StreamMessage } from './event-reader.js';
import { closeAgents, isLive, join, metric, nameOn, pidOf, startBroker, until } from './node.js';
import { TcpProxy } from './proxy.js';
import { closeSockets, JsonAgent } from './raw-agent.js';

/** Counts up in every lane, once a turn, from one shard. */
class Counting {
  readonly agent: Agent;
  readonly topic: string;
  sent = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(agent: Agent, topic: string) {
    this.agent = agent;
    this.topic = topic;
    this.timer = setInterval(() => this.publish(), 1);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private publish(): void {
    this.sent++;
    for (const priority of LANES) this.agent.publish(this.topic, this.sent, { priority });
  }
}

/** What one handler got of several publishers, and whether each lane of each came whole and in order. */
class Log {
  readonly gaps: Gap[] = [];
  readonly wrong: string[] = [];
  replayed = 0;
  live = 0;
  private readonly last = new Map<string, number>();

  readonly take = (message: Message): void => {
    const key = `${message.from} ${message.topic} ${message.priority}`;
    const number = message.json<number>();
    const before = this.last.get(key) ?? (message.replayed ? number - 1 : 0);
    if (number !== before + 1) this.wrong.push(`${key}: ${number} after ${before}`);
    this.last.set(key, number);
    if (message.replayed) this.replayed++;
    else this.live++;
  };

  has({ agent, topic, sent }: Counting): boolean {
    return LANES.every((lane) => this.last.get(`${agent.agentId} ${topic} ${lane}`) === sent);
  }
}

describe('history', () => {
  let node: RunningNode;
  let countings: Counting[] = [];
  before(async () => {
    const timing = { backoffMin: 20, backoffMax: 20 };
    node = await startBroker({ history: ['kept.**'], historySize: 4 * 1024 * 1024 }, { timing });
  });
  after(() => node.stop());
  afterEach(async () => {
    for (const counting of countings) counting.stop();
    countings = [];
    closeSockets();
    await closeAgents();
  });

  let serial = 0;
  function fresh(slot: number): string {
    return nameOn(slot, `past-${++serial}`);
  }

  async function count(topic: string, slot: number): Promise<Counting> {
    const counting = new Counting(await join(node.url, fresh(slot)), topic);
    countings.push(counting);
    return counting;
  }

  /** All numbers that a subscription brings that begins in the past, once nothing new comes. */
  async function replay(
    pattern: string,
    options: SubscribeOptions,
    least: number,
    slot = 0,
  ): Promise<Message[]> {
    const got: Message[] = [];
    const agent = await join(node.url, fresh(slot));
    await agent.subscribe(pattern, (message) => got.push(message), options);
    await until(
      () => `${got.length} of ${least} on ${pattern}`,
      () => got.length >= least,
    );
    // An answer of the same shard comes behind whatever it still had.
    await agent.agents({ limit: 1 });
    return got;
  }

  const numbers = (got: readonly Message[]): number[] => got.map((message) => message.json<number>());

  async function publish(topic: string, slot: number, from: number, to: number): Promise<void> {
    const agent = await join(node.url, fresh(slot));
    for (let number = from; number < to; number++) agent.publish(topic, number);
    await agent.drain();
    await agent.agents({ limit: 1 });
  }

  it('gives the last messages of both shards, oldest first, to whoever asks on either', async () => {
    await publish('kept.order', 0, 0, 5);
    await publish('kept.order', 1, 5, 10);
    await publish('kept.other', 1, 100, 101);
    for (const slot of [0, 1]) {
      const got = await replay('kept.order', { replay: 7 }, 7, slot);
      assert.deepEqual(numbers(got), [3, 4, 5, 6, 7, 8, 9]);
      assert.ok(got.every(({ replayed, retained }) => replayed && !retained));
      assert.match(got[0].from, /^past-/);
    }
    assert.deepEqual(numbers(await replay('kept.order', { replay: { last: 1 } }, 1)), [9]);
    assert.deepEqual(numbers(await replay('kept.order', { replay: { since: 60_000 } }, 10)).length, 10);
    assert.equal((await replay('kept.order', { replay: { since: new Date() } }, 0)).length, 0);
    assert.equal((await replay('kept.order', { replay: 0 }, 0)).length, 0);
  });

  it('says so where nothing is kept', async () => {
    const agent = await join(node.url, fresh(0));
    await assert.rejects(
      agent.subscribe('elsewhere.**', () => {}, { replay: 1 }),
      (error) => error instanceof FlowbusError && error.code === 'HISTORY_UNAVAILABLE',
    );
  });

  it('hands over from the past to what is live without a hole or a repeat, under fire from both shards', async () => {
    const all = [await count('kept.fire.a', 0), await count('kept.fire.b', 1), await count('kept.fire.c', 1)];
    const logs: Log[] = [];
    for (let i = 0; i < 12; i++) {
      const log = new Log();
      logs.push(log);
      const agent = await join(node.url, fresh(i % 2));
      agent.on('gap', (gap) => log.gaps.push(gap));
      // Some of it comes to this agent already, by another pattern.
      if (i % 3 === 0) await agent.subscribe('kept.fire.*', () => {});
      await agent.subscribe('kept.fire.**', log.take, { replay: { since: 60_000 } });
      await until(`live messages for ${i}`, () => log.live > 20);
    }
    for (const counting of all) counting.stop();
    await until('the last of all', () => logs.every((log) => all.every((counting) => log.has(counting))));
    assert.deepEqual(
      logs.flatMap(({ wrong }) => wrong),
      [],
    );
    assert.deepEqual(
      logs.flatMap(({ gaps }) => gaps),
      [],
    );
    assert.ok(logs.every(({ replayed }) => replayed > 20));
  });

  it('brings at once what is not kept, while it replays what is', async () => {
    await publish('kept.much', 0, 0, 5000);
    const agent = await join(node.url, fresh(1));
    const other: number[] = [];
    let kept = 0;
    await agent.subscribe(
      '**.much',
      (message) => {
        if (message.topic === 'other.much') other.push(message.json());
        else kept++;
      },
      { replay: { since: 60_000 } },
    );
    for (let i = 0; i < 100; i++) agent.publish('other.much', i);
    await until('all of both', () => other.length === 100 && kept === 5000);
    assert.deepEqual(
      other,
      Array.from({ length: 100 }, (_, i) => i),
    );
  });

  for (const name of ['the session goes on', 'the session is lost'] as const) {
    it(`goes on where it stopped when a connection breaks and ${name}`, async () => {
      const proxy = await TcpProxy.open(node.address.port);
      try {
        const all = [await count('kept.again', 0), await count('kept.again', 1)];
        const log = new Log();
        const agent = await join(proxy.url, { agentId: fresh(0), reconnect: { minDelay: 1, maxDelay: 5 } });
        let returns = 0;
        agent.on('reconnect', () => returns++);
        agent.on('gap', ({ reason }) => {
          if (reason !== 'resume') log.gaps.push({ reason, missed: undefined });
        });
        await agent.subscribe('kept.again', log.take, { replay: { since: 60_000 } });
        for (let i = 1; i <= 5; i++) {
          const { live } = log;
          await until('live messages', () => log.live > live + 20);
          // What is on its way now is lost with the connection.
          proxy.swallow();
          const { sent } = all[0];
          await until('messages that are lost', () => all[0].sent > sent + 10);
          proxy.cut();
          // Whoever has its name for a moment ends its session.
          if (name === 'the session is lost') await (await join(node.url, agent.agentId)).close();
          proxy.release();
          await until('it to be back', () => returns === i);
        }
        for (const counting of all) counting.stop();
        await until('the last of all', () => all.every((counting) => log.has(counting)));
        assert.deepEqual(log.wrong, []);
        assert.deepEqual(log.gaps, []);
      } finally {
        proxy.close();
      }
    });
  }

  it('survives kill -9 of a shard', async () => {
    await publish('kept.killed', 1, 0, 50);
    const before = isLive(node, 1);
    assert.ok(before);
    process.kill(pidOf(node, 1), 'SIGKILL');
    await until('its end', () => !isLive(node, 1));
    assert.deepEqual(
      numbers(await replay('kept.killed', { replay: 100 }, 50)),
      Array.from({ length: 50 }, (_, i) => i),
    );
    await until('its successor', () => isLive(node, 1));
    await publish('kept.killed', 1, 50, 60);
    assert.deepEqual(
      numbers(await replay('kept.killed', { replay: 100 }, 60, 1)),
      Array.from({ length: 60 }, (_, i) => i),
    );
  });

  it('tells of a gap when it does not reach back far enough', async () => {
    const gaps: Gap[] = [];
    const agent = await join(node.url, fresh(0));
    agent.on('gap', (gap) => gaps.push(gap));
    const text = 'x'.repeat(8000);
    const publisher = await join(node.url, fresh(1));
    for (let i = 0; i < 600; i++) if (!publisher.publish('kept.large', text)) await publisher.drained();
    await publisher.drain();
    await publisher.agents({ limit: 1 });
    let got = 0;
    await agent.subscribe('kept.large', () => got++, { replay: { since: 60_000 } });
    await until('some', () => got > 100);
    assert.deepEqual(gaps, [{ missed: undefined, reason: 'history' }]);
    assert.ok(got < 600, `${got}`);
    await until('the metrics', async () => (await metric(node, 'flowbus_history_bytes')) > 1024 * 1024);
    assert.ok((await metric(node, 'flowbus_replayed_total')) > 5000);
  });

  it('reaches those who speak JSON, each message once', async () => {
    await publish('kept.json', 1, 0, 20);
    const counting = await count('kept.json', 0);
    const json = await JsonAgent.join(node.url, { agentId: fresh(1) });
    await json.ask({ op: 'subscribe', pattern: 'kept.json', replay: { since: 60_000 } }, 1, 'ack');
    const messages = () => json.all('message');
    await until('live ones', () => messages().filter(({ replayed }) => replayed === undefined).length > 50);
    counting.stop();
    const urgent = messages().filter(({ priority }) => priority === 'critical');
    assert.deepEqual(
      urgent.map(({ data }) => data),
      Array.from(urgent, (_, i) => i + 1),
    );
    assert.ok(messages().filter(({ replayed }) => replayed === true).length >= 20);
    const refused = await json.ask({ op: 'subscribe', pattern: 'elsewhere', replay: 5 }, 2, 'error');
    assert.equal(refused.code, 'HISTORY_UNAVAILABLE');
  });
});

describe('history in event streams', () => {
  let node: RunningNode;
  let countings: Counting[] = [];
  let readers: EventReader[] = [];
  before(async () => {
    const timing = { backoffMin: 20, backoffMax: 20 };
    node = await startBroker({ history: ['kept.**'] }, { timing });
  });
  after(() => node.stop());
  afterEach(async () => {
    for (const counting of countings) counting.stop();
    for (const reader of readers) reader.breakOff();
    countings = [];
    readers = [];
    await closeAgents();
  });

  function read(query: string, lastId = ''): EventReader {
    const reader = new EventReader(node, query);
    if (lastId !== '') {
      reader.breakOff();
      reader.lastId = lastId;
      reader.open();
    }
    readers.push(reader);
    return reader;
  }

  let serial = 0;
  async function count(topic: string, slot: number): Promise<Counting> {
    const counting = new Counting(await join(node.url, nameOn(slot, `event-${++serial}`)), topic);
    countings.push(counting);
    return counting;
  }

  async function publish(topic: string, ...texts: string[]): Promise<void> {
    const agent = await join(node.url, nameOn(serial % 2, `event-${++serial}`));
    for (const text of texts) agent.publish(topic, text);
    await agent.drain();
    await agent.agents({ limit: 1 });
  }

  const datas = ({ messages }: EventReader): unknown[] => messages.map(({ data }) => data);

  /** What is not the next number of its publisher, topic and lane. */
  function wrong(messages: readonly StreamMessage[]): string[] {
    const last = new Map<string, number>();
    return messages.flatMap(({ from, topic, priority, data }) => {
      const key = `${from} ${topic} ${priority}`;
      const before = last.get(key) ?? 0;
      last.set(key, Number(data));
      return data === before + 1 ? [] : [`${key}: ${data} after ${before}`];
    });
  }

  it('brings each message once, from the past on, however often the connection breaks and a shard is killed', async () => {
    const all = [await count('kept.fire.a', 0), await count('kept.fire.b', 1)];
    await until('some', () => all.every(({ sent }) => sent > 50));
    const reader = read('pattern=kept.fire.a&pattern=kept.fire.*&pattern=kept.*.b&since=60000');
    for (let round = 1; round <= 6; round++) {
      const { length } = reader.messages;
      const live = () => reader.messages.slice(length).filter(({ replayed }) => replayed === undefined);
      // In the midst of the past, or of what is live.
      await until('messages', () => reader.messages.length > length + 20);
      if (round % 2 === 0) await until('live ones', () => live().length > 20);
      reader.breakOff();
      if (round === 4) {
        // What it has not taken yet would die with it.
        all[0].stop();
        await all[0].agent.agents({ limit: 1 });
        process.kill(pidOf(node, 0), 'SIGKILL');
        await until('its end', () => !isLive(node, 0));
        await until('its successor', () => isLive(node, 0));
        all.push(await count('kept.fire.b', 0));
      }
      reader.open();
    }
    for (const counting of all) counting.stop();
    await until('the last of all', () =>
      all.every(({ agent, topic, sent }) =>
        LANES.every((lane) =>
          reader.messages.some(
            ({ from, topic: on, priority, data }) =>
              from === agent.agentId && on === topic && priority === lane && data === sent,
          ),
        ),
      ),
    );
    assert.deepEqual(wrong(reader.messages), []);
    assert.deepEqual(reader.gaps, []);
  });

  it('begins with the last ones, or with none, and goes on behind what it had', async () => {
    await publish('kept.quiet', '1', '2', '3');
    const reader = read('pattern=kept.quiet&replay=2');
    await until('two', () => reader.messages.length === 2);
    const fromNow = read('pattern=kept.quiet&replay=0');
    // Nothing has come, and it knows all the same from where on it will miss something.
    await until('its place', () => fromNow.lastId !== '');
    for (const one of [reader, fromNow]) one.breakOff();
    await publish('kept.quiet', '4', '5');
    for (const one of [reader, fromNow]) one.open();
    await until('what they missed', () => fromNow.messages.length === 2 && reader.messages.length === 4);
    await publish('kept.quiet', '6');
    await until('what is live', () => fromNow.messages.length === 3 && reader.messages.length === 5);
    assert.deepEqual(datas(reader), ['2', '3', '4', '5', '6']);
    assert.deepEqual(datas(fromNow), ['4', '5', '6']);
    assert.deepEqual([...reader.gaps, ...fromNow.gaps], []);
    // As of a node that has been started anew: what is kept now can only be news.
    const foreign = read('pattern=kept.quiet&replay=1', `0${'0f'.repeat(7)}0.1.0-zz.1-zz`);
    await until('all', () => foreign.messages.length === 6);
    assert.deepEqual(foreign.gaps, [{ op: 'gap', missed: -1, reason: 'history' }]);
  });

  it('is refused where nothing is kept, and behind an id that is none', async () => {
    for (const [query, lastId, status, code] of [
      ['pattern=kept.a&pattern=elsewhere&replay=5', '', 501, 'HISTORY_UNAVAILABLE'],
      ['pattern=kept.a&replay=5', '7', 400, 'BAD_OPTION'],
      ['pattern=_x&replay=5', '', 403, 'FORBIDDEN_TOPIC'],
      // What began with what is live cannot be resumed, whatever its client says.
      ['pattern=kept.a', '7', 200, ''],
    ] as const) {
      const reader = read(query, lastId);
      await until(
        () => `an answer to ${query}, ${reader.status}`,
        () => reader.status !== 0 && (status === 200 || reader.refusal !== ''),
      );
      assert.equal(reader.status, status, query);
      if (code !== '') assert.equal(JSON.parse(reader.refusal).code, code);
    }
    await until('streams to be forgotten', async () => {
      for (const reader of readers) reader.breakOff();
      return (await metric(node, 'flowbus_streams')) === 0;
    });
  });
});

describe('retained values', () => {
  let node: RunningNode;
  before(async () => {
    const timing = { backoffMin: 20, backoffMax: 20 };
    node = await startBroker({ retainedSize: 512 * 1024 }, { timing });
  });
  after(() => node.stop());
  afterEach(async () => {
    closeSockets();
    await closeAgents();
  });

  let serial = 0;
  function fresh(slot: number): string {
    return nameOn(slot, `late-${++serial}`);
  }

  async function retain(slot: number, values: Record<string, string>): Promise<void> {
    const agent = await join(node.url, fresh(slot));
    for (const [topic, value] of Object.entries(values)) {
      if (!agent.publish(topic, value, { retain: true })) await agent.drained();
    }
    await agent.drain();
    await agent.agents({ limit: 1 });
  }

  /** What somebody gets who subscribes now. */
  async function late(pattern: string, slot = 0): Promise<Record<string, string>> {
    const got: Record<string, string> = {};
    const agent = await join(node.url, fresh(slot));
    await agent.subscribe(pattern, (message) => {
      // One that is under way from the other shard may come as it was, too.
      if (message.retained) got[message.topic] = message.text();
    });
    await agent.agents({ limit: 1 });
    // What came with the answer waits for its turn.
    await new Promise(setImmediate);
    return got;
  }

  async function renew(slot: number): Promise<void> {
    process.kill(pidOf(node, slot), 'SIGKILL');
    await until('its end', () => !isLive(node, slot));
    await until('its successor', () => isLive(node, slot));
  }

  it('are given to those who subscribe later, on any shard, the last of each topic', async () => {
    await retain(0, { 'state.a': '1', 'state.b': '1' });
    await retain(1, { 'state.b': '2', 'state.c': '2', 'else.d': '2' });
    for (const slot of [0, 1]) {
      assert.deepEqual(await late('state.*', slot), { 'state.a': '1', 'state.b': '2', 'state.c': '2' });
      assert.deepEqual(await late('else.d', slot), { 'else.d': '2' });
    }
    await retain(0, { 'state.b': '' });
    assert.deepEqual(await late('state.*', 1), { 'state.a': '1', 'state.c': '2' });
    const json = await JsonAgent.join(node.url, { agentId: fresh(0) });
    json.send({ op: 'publish', topic: 'state.e', data: 'five', retain: true });
    await json.ask({ op: 'subscribe', pattern: 'state.*' }, 1, 'ack');
    await until('all', () => json.all('message').filter(({ retained }) => retained === true).length === 3);
    assert.equal((await late('state.e', 1))['state.e'], 'five');
  });

  it('are kept, cleared and given by HTTP too', async () => {
    const post = (topic: string, body: string): Promise<Response> => {
      const url = `http://127.0.0.1:${node.address.port}/v1/publish/${topic}?retain=true`;
      return fetch(url, { method: 'POST', body, headers: { 'content-type': 'text/plain' } });
    };
    for (const [topic, body] of [
      ['web.a', 'old'],
      ['web.a', 'new'],
      ['web.b', 'here'],
      ['web.c', 'gone'],
      ['web.c', ''],
    ])
      assert.equal((await post(topic, body)).status, 202);
    await until('them', async () => (await late('web.*'))['web.a'] === 'new');
    assert.deepEqual(await late('web.*', 1), { 'web.a': 'new', 'web.b': 'here' });
    const reader = new EventReader(node, 'pattern=web.*');
    try {
      await until('both', () => reader.messages.length === 2);
      await post('web.b', 'now');
      await until('what is live', () => reader.messages.length === 3);
      const shown = reader.messages.map(({ topic, data, retained }) => [topic, data, retained]);
      assert.deepEqual(shown.slice(0, 2).sort(), [
        ['web.a', 'new', true],
        ['web.b', 'here', true],
      ]);
      assert.deepEqual(shown[2], ['web.b', 'now', undefined]);
    } finally {
      reader.breakOff();
    }
    const refused = await post('_agent.x', 'no');
    assert.equal(refused.status, 403);
  });

  it('outlive the shards, one after the other', async () => {
    await retain(0, { 'kill.a': '1', 'kill.b': '1' });
    await retain(1, { 'kill.a': '2', 'kill.c': '2', 'kill.d': '2' });
    await retain(0, { 'kill.d': '' });
    for (const slot of [0, 1]) await renew(slot);
    for (const slot of [0, 1])
      assert.deepEqual(await late('kill.*', slot), { 'kill.a': '2', 'kill.b': '1', 'kill.c': '2' });
  });

  it('are refused beyond their bound, and take no more room for being changed again and again', async () => {
    await retain(1, { 'often.still': 'here' });
    const text = 'x'.repeat(20_000);
    for (let round = 0; round < 30; round++)
      await retain(round % 2, { 'often.a': `${round} ${text}`, 'often.b': text });
    // It has nothing but the rings to know from.
    await renew(0);
    const got = await late('often.*', 0);
    assert.deepEqual(Object.keys(got).sort(), ['often.a', 'often.b', 'often.still']);
    assert.match(got['often.a'], /^29 /);

    const agent = await join(node.url, fresh(0));
    const errors: ErrorCode[] = [];
    agent.on('error', ({ code }) => errors.push(code));
    for (let i = 0; i < 20; i++) agent.publish(`many.${i}`, text, { retain: true });
    await until('a refusal', () => errors.length > 0);
    assert.deepEqual([...new Set(errors)], ['RETAINED_FULL']);
    agent.publish('_agent.x', 'no', { retain: true });
    await until('another', () => errors.includes('FORBIDDEN_TOPIC'));
    for (let i = 0; i < 20; i++) agent.publish(`many.${i}`, '', { retain: true });
    await agent.agents({ limit: 1 });
    assert.deepEqual(await late('many.*'), {});
    assert.deepEqual(Object.keys(await late('often.*')).sort(), ['often.a', 'often.b', 'often.still']);
  });
});
