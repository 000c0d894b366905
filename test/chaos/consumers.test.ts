/** Consumers that behave badly, and what holds all the same. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { type Agent, FlowbusError, type Priority } from '../../lib/client/index.js';
import { LANES } from '../../lib/wire/frame.js';
import { closeAgents, join, nameOn, until } from '../integration/broker/node.js';
import { TextAgent, type TextAnswer } from '../integration/broker/text-agent.js';
import { Broker } from './broker.js';
import { clock, History, idOf } from './history.js';

const SECONDS = Number(process.env.FLOWBUS_CHAOS_SECONDS ?? 2);
const MiB = 1024 * 1024;
/** The least that can be set. */
const JOURNAL = 16 * MiB;
const RECONNECT = { minDelay: 10, maxDelay: 100 };

describe('consumers that behave badly', function () {
  this.timeout(SECONDS * 1000 + 120_000);
  let dataDir: string;
  let broker: Broker;
  const texts: TextAgent[] = [];

  before(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-consumers-'));
    broker = await Broker.start({ dataDir, journalSize: JOURNAL, retryCap: 20, lease: 500 });
  });
  after(async () => {
    await broker.stop();
    rmSync(dataDir, { recursive: true });
  });
  afterEach(async () => {
    for (const agent of texts.splice(0)) agent.end();
    await closeAgents();
  });

  async function publisher(name: string): Promise<Agent> {
    const agent = await join(broker.url, { agentId: nameOn(0, name), reconnect: RECONNECT });
    return agent.on('error', () => {}).on('disconnect', () => {});
  }

  /** `lease`: 0 is that of the broker. */
  async function member(slot: number, pattern: string, prefetch: number, lease = 0): Promise<TextAgent> {
    const agent = await TextAgent.join(broker.url, nameOn(slot, `member-${texts.length}`));
    texts.push(agent);
    const { op } = await agent.ask({ op: 'subscribe', pattern, group: 'crew', prefetch, lease });
    assert.equal(op, 'consuming');
    return agent;
  }

  it('never ack, always nack, ack twice or what they never got, and nothing is lost, or given to two unflagged', async () => {
    const history = new History();
    const good = await join(broker.url, { agentId: nameOn(1, 'good') });
    await good.subscribe(
      'bad.*',
      (message) =>
        history.receive({ id: message.text(), redelivered: message.redelivered, at: clock(), by: 1 }),
      { group: 'crew', prefetch: 8 },
    );
    let got = 0;
    const bad = async (
      slot: number,
      act: (agent: TextAgent, message: TextAnswer) => void,
      prefetch = 4,
    ): Promise<void> => {
      const agent = await member(slot, 'bad.*', prefetch);
      agent.onMessage = (message) => {
        got++;
        act(agent, message);
      };
    };
    await bad(0, () => {});
    await bad(1, (agent, { mailbox, offset }) => agent.send({ op: 'nack', mailbox, offset }));
    await bad(0, (agent, { mailbox, offset, data, redelivered = 0 }) => {
      history.receive({ id: String(data), redelivered, at: clock(), by: 2 });
      agent.send({ op: 'ack', mailbox, offset });
      agent.send({ op: 'ack', mailbox, offset });
      agent.send({ op: 'nack', mailbox, offset });
    });
    // All that there is, but the one that it has got: it is not its to ack.
    await bad(
      1,
      (agent, { mailbox, offset = 0 }) => {
        if (offset > 1) agent.send({ op: 'ack', mailbox, offset: 1, count: Math.min(10_000, offset - 1) });
        agent.send({ op: 'ack', mailbox, offset: offset + 1, count: 10_000 });
        agent.send({ op: 'ack', mailbox: 0xff00_0000, offset });
        agent.send({ op: 'nack', mailbox, offset });
      },
      1,
    );
    const agent = await publisher('to-bad');
    const end = performance.now() + SECONDS * 1000;
    for (let n = 1; n <= 100 || performance.now() < end; n++) {
      const id = idOf(agent.agentId, 'normal', `k${n % 5}`, n);
      await agent.publish('bad.x', id, { assured: true, messageId: id });
      history.acked.add(id);
    }
    await until(
      () => `all of ${history.acked.size}: ${history.missing.length} missing`,
      () => history.missing.length === 0,
      60_000,
    );
    assert.ok(got > 0 && history.repeats > 0);
    history.check('none');
  });

  it('hold up others: what has run out meanwhile is given to nobody, also after kill -9', async () => {
    // However slow the machine, it has the first one until it acks it.
    const holder = await member(0, 'late.*', 1, 600_000);
    const agent = await publisher('to-late');
    const publish = (text: string, ttl?: number) =>
      agent.publish('late.x', text, { assured: true, ...(ttl !== undefined && { ttl }) });
    await publish('held');
    await until('it', () => holder.messages.length === 1);
    const ttl = 200;
    for (let n = 0; n < 20; n++) await publish(`over ${n}`, ttl);
    let over = performance.now() + ttl;
    await until('their time to be over', () => performance.now() > over + 1);
    holder.send({ op: 'ack', mailbox: holder.messages[0].mailbox, offset: holder.messages[0].offset });
    await publish('in time');
    await until('the next', () => holder.messages.length === 2);
    assert.deepEqual(holder.messages[1].data, 'in time');
    holder.end();

    for (let n = 0; n < 20; n++) await publish(`over again ${n}`, ttl);
    over = performance.now() + ttl;
    await broker.kill();
    await broker.begin();
    await until('their time to be over', () => performance.now() > over + 1);
    const heir = await member(1, 'late.*', 100);
    await until('the last', async () => {
      await publish('last').catch(() => {});
      return heir.messages.some(({ data }) => data === 'last');
    });
    assert.deepEqual(
      heir.messages.map(({ data }) => data).filter((data) => /over/.test(String(data))),
      [],
    );
  });

  it('starve no lane: while any waits, one of 31 is background, and each lane keeps its order after kill -9', async () => {
    const first = await member(0, 'lane.*', 1);
    first.end();
    const agent = await publisher('to-lanes');
    const each = 70;
    const lanes = LANES as readonly Priority[];
    await Promise.all(
      lanes.flatMap((priority) =>
        Array.from({ length: each }, (_, n) => agent.publish('lane.x', n, { assured: true, priority })),
      ),
    );
    await broker.kill();
    await broker.begin();
    const got: TextAnswer[] = [];
    const heir = await TextAgent.join(broker.url, nameOn(1, 'heir'));
    texts.push(heir);
    heir.onMessage = (message) => {
      got.push(message);
      heir.send({ op: 'ack', mailbox: message.mailbox, offset: message.offset });
    };
    // One at a time: what comes is what the mailbox has chosen.
    await heir.ask({ op: 'subscribe', pattern: 'lane.*', group: 'crew', prefetch: 1 });
    await until(
      () => `all of them, not ${got.length}`,
      () => got.length >= each * lanes.length,
      30_000,
    );
    const order = got.map((message) => (message as { priority?: Priority }).priority);
    const last = order.lastIndexOf('background');
    for (let at = 0; at + 31 <= last; at++)
      assert.ok(order.slice(at, at + 31).includes('background'), `31 from ${at} on without background`);
    for (const lane of lanes)
      assert.deepEqual(
        got.filter((_, at) => order[at] === lane).map(({ data }) => data),
        Array.from({ length: each }, (_, n) => n),
        lane,
      );
  });

  it('never ack while a journal of 16 MiB is filled again and again: memory and files stay within their bounds', async () => {
    const holder = await member(0, 'full.*', 10_000);
    const agent = await publisher('to-full');
    const body = 'x'.repeat(16 * 1024);
    let stored = 0;
    let refused = 0;
    let sent = 0;
    const publish = async (): Promise<void> => {
      sent++;
      try {
        await agent.publish('full.x', body, { assured: true });
        stored++;
      } catch (error) {
        assert.ok(error instanceof FlowbusError && error.code === 'JOURNAL_FULL', String(error));
        refused++;
      }
    };
    const resident = async (): Promise<number> => {
      let most = 0;
      for (const pid of await broker.pids()) {
        const kib = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
        most = Math.max(most, kib * 1024);
      }
      return most;
    };
    const atFirst = await resident();
    let most = 0;
    let acking = false;
    let held: TextAnswer[] = [];
    holder.onMessage = (message) => {
      if (acking) holder.send({ op: 'ack', mailbox: message.mailbox, offset: message.offset });
      else held.push(message);
    };
    const end = performance.now() + SECONDS * 1000;
    for (let round = 0; round < 4 || performance.now() < end; round++) {
      // Full, then all of it is acked.
      const before = refused;
      while (refused === before) await Promise.all(Array.from({ length: 32 }, publish));
      acking = true;
      for (const { mailbox, offset } of held) holder.send({ op: 'ack', mailbox, offset });
      held = [];
      const enough = stored;
      await until('room', async () => {
        await publish();
        return stored > enough + 8;
      });
      acking = false;
      most = Math.max(most, await resident());
    }
    assert.ok(refused > 0 && stored * body.length > JOURNAL, `${stored} of ${sent} stored`);
    // Twice what a shard may hold and four segments of 16 MiB, in memory too; 1 MiB in flight, and what is still to be collected.
    const bound = 2 * (JOURNAL / 2) + 4 * 16 * MiB + 64 * MiB;
    assert.ok(most - atFirst < bound, `${Math.round((most - atFirst) / MiB)} MiB more than at first`);
  });
});
