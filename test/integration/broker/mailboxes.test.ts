import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Agent, Message } from '../../../lib/client/index.js';
import { FlowbusError } from '../../../lib/errors.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, join, nameOn, startBroker, until } from './node.js';

function refusedWith(code: string): (error: unknown) => boolean {
  return (error) => error instanceof FlowbusError && error.code === code;
}

describe('mailboxes', () => {
  let dataDir: string;
  let node: RunningNode;
  before(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-mailboxes-'));
    node = await startBroker({ dataDir, retryBase: 1, retryCap: 20 });
  });
  after(async () => {
    await node.stop();
    rmSync(dataDir, { recursive: true });
  });
  afterEach(closeAgents);

  let serial = 0;
  /** An agentId of its own for each test, on the given shard. */
  function fresh(slot: number): string {
    return nameOn(slot, `box-${++serial}`);
  }

  function texts(got: readonly Message[]): string[] {
    return got.map((message) => message.text());
  }

  describe('of an agent', () => {
    for (const [from, to] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]) {
      it(`keeps what is sent while it is away: from shard ${from} to shard ${to}`, async () => {
        const agentId = fresh(to);
        const first = await join(node.url, { agentId, mailbox: true });
        await first.close();
        const sender = await join(node.url, fresh(from));
        for (let i = 0; i < 10; i++)
          assert.deepEqual(await sender.send(agentId, `m${i}`, { assured: true }), { stored: 1 });
        const got: Message[] = [];
        const second = await join(node.url, { agentId, mailbox: true });
        second.on('message', (message) => {
          got.push(message);
        });
        await until('all', () => got.length === 10);
        assert.deepEqual(
          texts(got),
          Array.from({ length: 10 }, (_, i) => `m${i}`),
        );
        assert.equal(got[0].from, sender.agentId);
        assert.equal(got[0].topic, `_agent.${agentId}`);
        assert.equal(got[0].redelivered, 0);
      });
    }

    it('is there for those who ask for it alone: others get NO_MAILBOX', async () => {
      const sender = await join(node.url, fresh(0));
      const agent = await join(node.url, fresh(1));
      await assert.rejects(sender.send(agent.agentId, 'x', { assured: true }), refusedWith('NO_MAILBOX'));
      await assert.rejects(sender.send('nobody', 'x', { assured: true }), refusedWith('NO_MAILBOX'));
      await assert.rejects(sender.publish('a.b', 'x', { assured: true }), refusedWith('NO_MAILBOX'));
    });

    it('gets an assured message once, and live ones beside it', async () => {
      const agentId = fresh(0);
      const agent = await join(node.url, { agentId, mailbox: true });
      const got: string[] = [];
      agent.on('message', (message) => {
        got.push(message.text());
      });
      const sender = await join(node.url, fresh(1));
      await sender.send(agentId, 'assured', { assured: true });
      sender.send(agentId, 'live');
      await until('both', () => got.length >= 2);
      assert.deepEqual(got.sort(), ['assured', 'live']);
    });

    it('stores a message once that is repeated under its id', async () => {
      const agentId = fresh(1);
      const agent = await join(node.url, { agentId, mailbox: true });
      const got: string[] = [];
      agent.on('message', (message) => {
        got.push(message.text());
      });
      const sender = await join(node.url, fresh(0));
      for (let i = 0; i < 3; i++) {
        const ack = await sender.send(agentId, 'once', { assured: true, messageId: 'the-same' });
        assert.deepEqual(ack, { stored: 1 });
      }
      await sender.send(agentId, 'last', { assured: true });
      await until('the last', () => got.includes('last'));
      assert.deepEqual(got, ['once', 'last']);
    });

    it('delivers again, with a count, what a handler failed at or never acked', async () => {
      const agentId = fresh(0);
      const agent = await join(node.url, { agentId, mailbox: { lease: 100 } });
      agent.on('error', () => {});
      const got: [string, number][] = [];
      agent.on('message', (message) => {
        got.push([message.text(), message.redelivered]);
        if (message.redelivered === 0 && message.text() === 'throws') throw new Error('not yet');
        if (message.redelivered === 0 && message.text() === 'hangs') return new Promise(() => {});
        return undefined;
      });
      const sender = await join(node.url, fresh(1));
      await sender.send(agentId, 'throws', { assured: true });
      await sender.send(agentId, 'hangs', { assured: true });
      await until('both again', () => got.length === 4);
      assert.deepEqual(got.slice().sort(), [
        ['hangs', 0],
        ['hangs', 1],
        ['throws', 0],
        ['throws', 1],
      ]);
    });

    it('drops what has outlived its time to live', async () => {
      const agentId = fresh(1);
      await (await join(node.url, { agentId, mailbox: true })).close();
      const sender = await join(node.url, fresh(0));
      await sender.send(agentId, 'short', { assured: true, ttl: 1 });
      await sender.send(agentId, 'long', { assured: true, ttl: 60_000 });
      const sent = Date.now();
      await until('a while', () => Date.now() > sent + 5);
      const got: string[] = [];
      const agent = await join(node.url, { agentId, mailbox: true });
      agent.on('message', (message) => {
        got.push(message.text());
      });
      await until('the long one', () => got.includes('long'));
      assert.deepEqual(got, ['long']);
    });

    it('gets what is delayed no sooner than its delay is over', async () => {
      const agentId = fresh(0);
      const agent = await join(node.url, { agentId, mailbox: true });
      const got = new Map<string, number>();
      agent.on('message', (message) => {
        got.set(message.text(), Date.now());
      });
      const sender = await join(node.url, fresh(1));
      const began = Date.now();
      for (const delay of [60, 20, 0])
        await sender.send(agentId, `${delay}`, { assured: true, delay, ttl: 30_000 });
      await until('all', () => got.size === 3);
      for (const [delay, at] of got) assert.ok(at >= began + Number(delay), `${delay}: ${at - began} ms`);
    });

    it('refuses a delay that nothing could keep', async () => {
      const agentId = fresh(0);
      const agent = await join(node.url, { agentId, mailbox: true });
      const bad = { assured: true, delay: 100, ttl: 100 } as const;
      await assert.rejects(agent.send(agentId, 'x', bad), refusedWith('BAD_OPTION'));
      await assert.rejects(agent.send(agentId, 'x', { assured: true, delay: -1 }), refusedWith('BAD_OPTION'));
    });

    it('tells those who publish to it when it is nearly full, and when that is over', async () => {
      const agentId = fresh(0);
      const limits = { maxMessages: 10 };
      await (await join(node.url, { agentId, mailbox: limits })).close();
      const sender = await join(node.url, fresh(1));
      const changes: [boolean, string | undefined][] = [];
      sender.on('pressure', ({ active, mailbox }) => {
        changes.push([active, mailbox]);
      });
      for (let i = 0; i < 8; i++) await sender.send(agentId, 'x', { assured: true });
      assert.deepEqual(changes, []);
      // The shard of the sender hears of it behind the ack, if that of the mailbox is another.
      for (let i = 8; i < 10; i++) await sender.send(agentId, 'x', { assured: true });
      const begin: [boolean, string] = [true, `agent:${agentId}`];
      await until('told', async () => {
        await sender.send(agentId, 'x', { assured: true }).catch(refusedWith('MAILBOX_FULL'));
        return changes.length > 0;
      });
      assert.deepEqual(changes, [begin]);
      const agent = await join(node.url, { agentId, mailbox: limits });
      agent.on('message', () => {});
      await until('told that it is over', () => changes.length === 2);
      assert.deepEqual(changes, [begin, [false, `agent:${agentId}`]]);
    });

    it('is full at the limit that its agent has set, and has room again when it has come', async () => {
      const agentId = fresh(0);
      await (await join(node.url, { agentId, mailbox: { maxMessages: 3 } })).close();
      const sender = await join(node.url, fresh(1));
      for (let i = 0; i < 3; i++) await sender.send(agentId, 'x', { assured: true });
      await assert.rejects(sender.send(agentId, 'x', { assured: true }), refusedWith('MAILBOX_FULL'));
      const agent = await join(node.url, { agentId, mailbox: { maxMessages: 3 } });
      let got = 0;
      agent.on('message', () => {
        got++;
      });
      await until('all', () => got === 3);
      await until('room', async () => {
        try {
          return (await sender.send(agentId, 'x', { assured: true })).stored === 1;
        } catch (error) {
          assert.ok(refusedWith('MAILBOX_FULL')(error));
          return false;
        }
      });
    });
  });

  describe('of a group', () => {
    async function member(
      slot: number,
      group: string,
      pattern: string,
      handler: (message: Message) => unknown,
      options = {},
    ): Promise<Agent> {
      const agent = await join(node.url, fresh(slot));
      await agent.subscribe(pattern, handler, { group, ...options });
      return agent;
    }

    it('shares its messages out: each goes to one member, whoever published it, assured or live', async () => {
      const got: string[][] = [[], [], []];
      for (const [i, slot] of [0, 1, 1].entries())
        await member(slot, 'share', 'work.*.do', (message) => got[i].push(message.text()));
      const publishers = [await join(node.url, fresh(0)), await join(node.url, fresh(1))];
      const sent: string[] = [];
      for (let i = 0; i < 60; i++) {
        const text = `t${i}`;
        sent.push(text);
        const publisher = publishers[i % 2];
        if (i % 3 === 0) publisher.publish(`work.${i}.do`, text);
        else
          assert.deepEqual(await publisher.publish(`work.${i}.do`, text, { assured: true }), { stored: 1 });
      }
      await until('all', () => got.flat().length >= 60);
      assert.deepEqual(got.flat().sort(), sent.sort());
      for (const part of got)
        assert.ok(part.length >= 15 && part.length <= 25, `${got.map((p) => p.length)}`);
    });

    it('beside others: every group that matches stores it, and live subscribers see it too', async () => {
      const got: string[] = [];
      await member(0, 'first', 'orders.**', () => got.push('first'));
      await member(1, 'second', 'orders.new', () => got.push('second'));
      const watcher = await join(node.url, fresh(1));
      await watcher.subscribe('orders.*', () => got.push('watcher'));
      const publisher = await join(node.url, fresh(0));
      assert.deepEqual(await publisher.publish('orders.new', 'x', { assured: true }), { stored: 2 });
      await until('three', () => got.length === 3);
      assert.deepEqual(got.sort(), ['first', 'second', 'watcher']);
    });

    it('keeps messages while no member is there', async () => {
      const leaver = await member(0, 'later', 'kept.*', () => {});
      await leaver.close();
      const publisher = await join(node.url, fresh(1));
      for (let i = 0; i < 5; i++) await publisher.publish('kept.x', `k${i}`, { assured: true });
      const got: string[] = [];
      await member(1, 'later', 'kept.*', (message) => got.push(message.text()));
      await until('all', () => got.length === 5);
      assert.deepEqual(got, ['k0', 'k1', 'k2', 'k3', 'k4']);
    });

    it('gives what a member leaves unacked to another, and flags it', async () => {
      const stuck: Message[] = [];
      const first = await member(0, 'heirs', 'heir.*', (message) => {
        stuck.push(message);
        return new Promise(() => {});
      });
      const publisher = await join(node.url, fresh(1));
      await publisher.publish('heir.x', 'h', { assured: true });
      await until('it', () => stuck.length === 1);
      const got: Message[] = [];
      await member(1, 'heirs', 'heir.*', (message) => got.push(message));
      await first.close();
      await until('the heir', () => got.length === 1);
      assert.equal(got[0].text(), 'h');
      assert.equal(got[0].redelivered, 1);
    });

    it('works at one message of a key at a time, in order, whichever member fails', async () => {
      const done = new Map<string, number[]>();
      const working = new Set<string>();
      const wrong: string[] = [];
      const handler = async (message: Message): Promise<void> => {
        const { key } = message;
        assert.ok(key !== null);
        if (working.has(key)) wrong.push(`two of ${key}`);
        working.add(key);
        await new Promise((resolve) => setImmediate(resolve));
        working.delete(key);
        const n = Number(message.text());
        if (n % 5 === 0 && message.redelivered === 0) throw new Error('once more');
        done.set(key, [...(done.get(key) ?? []), n]);
      };
      for (const slot of [0, 1, 0]) {
        const agent = await member(slot, 'keyed', 'keyed.*', handler);
        agent.on('error', () => {});
      }
      const publisher = await join(node.url, fresh(1));
      for (let n = 1; n <= 20; n++) {
        await Promise.all(
          ['a', 'b', 'c'].map((key) => publisher.publish('keyed.x', `${n}`, { assured: true, key })),
        );
      }
      await until('all', () => [...done.values()].flat().length === 60);
      assert.deepEqual(wrong, []);
      for (const list of done.values())
        assert.deepEqual(
          list,
          Array.from({ length: 20 }, (_, i) => i + 1),
        );
    });

    it('hands out no more than prefetch at a time', async () => {
      const got: Message[] = [];
      await member(
        0,
        'few',
        'few.*',
        (message) => {
          got.push(message);
          return new Promise(() => {});
        },
        { prefetch: 2 },
      );
      const publisher = await join(node.url, fresh(0));
      for (let i = 0; i < 6; i++) await publisher.publish('few.x', `${i}`, { assured: true });
      await until('two', () => got.length === 2);
      await got[0].ack();
      await until('one more', () => got.length === 3);
      assert.deepEqual(texts(got), ['0', '1', '2']);
    });
  });

  it('are refused by a broker without a journal', async () => {
    const other = await startBroker({ shards: 1 });
    try {
      await assert.rejects(join(other.url, { agentId: 'a', mailbox: true }), refusedWith('NO_JOURNAL'));
    } finally {
      await closeAgents();
      await other.stop();
    }
  });
});
