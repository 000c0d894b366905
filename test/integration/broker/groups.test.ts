/** Mailboxes with several consumers: how they share, and what becomes of the share of one that fails. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Agent, Handler, Message, SubscribeOptions } from '../../../lib/client/index.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, join, metric, nameOn, startBroker, until } from './node.js';

describe('mailboxes with several consumers', () => {
  let dataDir: string;
  let node: RunningNode;
  before(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-groups-'));
    const lanes = { laneWeights: [2, 1, 1, 1, 1], laneBoost: 4 };
    node = await startBroker({ dataDir, retryBase: 1, retryCap: 20, ...lanes });
  });
  after(async () => {
    await node.stop();
    rmSync(dataDir, { recursive: true });
  });
  afterEach(closeAgents);

  let serial = 0;
  function fresh(slot: number): string {
    return nameOn(slot, `several-${++serial}`);
  }

  async function member(
    slot: number,
    group: string,
    handler: Handler,
    options: SubscribeOptions = {},
  ): Promise<Agent> {
    const agent = await join(node.url, fresh(slot));
    await agent.subscribe(`${group}.*`, handler, { group, ...options });
    return agent;
  }

  it('give each consumer as many in turn, if that is wished, however slow it is', async () => {
    const counts = [0, 0, 0];
    for (const [i, slot] of [0, 1, 1].entries())
      await member(
        slot,
        'turns',
        () => {
          counts[i]++;
          return i === 0 ? new Promise(() => {}) : undefined;
        },
        { balance: 'round-robin' },
      );
    const publisher = await join(node.url, fresh(0));
    for (let i = 0; i < 30; i++) await publisher.publish('turns.x', `${i}`, { assured: true });
    await until('all', () => counts[0] + counts[1] + counts[2] === 30);
    assert.deepEqual(counts, [10, 10, 10]);
  });

  it('of a capability: kept while nobody is there, shared by those that say they have it, for nobody else', async () => {
    const sender = await join(node.url, fresh(0));
    const send = (text: string) => sender.sendTo({ capability: 'ocr' }, text, { assured: true });
    await assert.rejects(send('x'), { code: 'NO_MAILBOX' });
    const stranger = await join(node.url, fresh(1));
    await assert.rejects(
      stranger.subscribe({ capability: 'ocr' }, () => {}),
      { code: 'FORBIDDEN_TOPIC', message: /has not said in its hello that it has the capability ocr/ },
    );
    const able = { capabilities: ['ocr', 'scan'] };
    const early = await join(node.url, { agentId: fresh(0), ...able });
    await early.subscribe({ capability: 'ocr' }, () => {});
    await early.close();
    for (const text of ['a', 'b']) assert.deepEqual(await send(text), { stored: 1 });

    const got: string[][] = [[], []];
    for (const slot of [0, 1]) {
      const agent = await join(node.url, { agentId: fresh(slot), ...able });
      await agent.subscribe({ capability: 'ocr' }, (message) => {
        assert.equal(message.topic, '_capability.ocr');
        got[slot].push(message.text());
      });
      agent.on('message', (message) => {
        got[slot].push(`live ${message.text()}`);
      });
    }
    for (let i = 0; i < 8; i++) await send(`${i}`);
    await until('all', () => got.flat().length === 10);
    assert.deepEqual(got.flat().sort(), ['0', '1', '2', '3', '4', '5', '6', '7', 'a', 'b']);
    assert.ok(Math.min(got[0].length, got[1].length) >= 3, 'both have their share');

    // Live ones still go to an agent that the directory names, and not through the mailbox.
    await until('the directory', async () => (await sender.agents({ capability: 'ocr' })).length >= 2);
    sender.sendTo({ capability: 'ocr' }, 'x');
    await until('the live one', () => got.flat().includes('live x'));
    const errors: string[] = [];
    sender.on('error', ({ code }) => errors.push(code));
    sender.publish('_capability.ocr', 'nobody takes that');
    await until('the refusal', () => errors.length > 0);
    assert.deepEqual(errors, ['UNKNOWN_AGENT']);
  });

  it('give nothing to a consumer while it fails, tell it and the metrics, and try it again until it works', async () => {
    const changes: string[] = [];
    const failed = new Set<string>();
    const did: string[][] = [[], []];
    let works = false;
    const breaker = { failures: 3, coolDown: 100 };
    const sick = await member(
      1,
      'sick',
      (message) => {
        if (works) did[0].push(message.text());
        else {
          failed.add(message.text());
          throw new Error('no paper');
        }
      },
      { balance: 'round-robin', breaker },
    );
    sick.on('error', () => {});
    sick.on('breaker', ({ mailbox, state, reason, coolDown }) => {
      assert.equal(mailbox, 'group:sick:sick.*');
      assert.equal(coolDown >= 100, state === 'open');
      changes.push(`${state} ${reason}`);
    });
    await member(0, 'sick', (message) => did[1].push(message.text()));
    const publisher = await join(node.url, fresh(0));
    let sent = 0;
    const publish = () => publisher.publish('sick.x', `${sent++}`, { assured: true });
    while (changes.length === 0) await publish();
    assert.equal(changes[0], 'open nack');
    assert.ok(failed.size >= breaker.failures);
    await until('the gauge', async () => (await metric(node, 'flowbus_breakers_open')) === 1);
    assert.ok((await metric(node, 'flowbus_breaker_changes_total', 'state="open"')) >= 1);

    // It fails at what it is tried with, and is tried later.
    const opened = () => changes.filter((change) => change === 'open nack').length;
    await until('another try', async () => {
      await publish();
      return opened() >= 2;
    });
    assert.deepEqual(changes.slice(0, 3), ['open nack', 'half-open cool-down', 'open nack']);
    works = true;
    await until('it works', async () => {
      await publish();
      return changes.at(-1) === 'closed recovered';
    });
    const rest = () => did[0].length + did[1].length === sent;
    await until('all', rest);
    const before = did[0].length;
    for (let i = 0; i < 10; i++) await publish();
    await until('all', rest);
    assert.equal(did[0].length, before + 5, 'it has its share again');
  });

  it('hand out more of their less urgent lanes while they are nearly full', async () => {
    const got: string[] = [];
    const take: Handler = (message) => {
      got.push(message.text());
    };
    const away = await member(1, 'full', take, { maxMessages: 100 });
    await away.close();
    const publisher = await join(node.url, fresh(0));
    const send = (priority: 'critical' | 'background', count: number) =>
      Promise.all(
        Array.from({ length: count }, () =>
          publisher.publish('full.x', priority, { assured: true, priority }),
        ),
      );
    await send('critical', 50);
    await send('background', 40);
    // One at a time: what it gets comes in the order of the mailbox.
    await member(1, 'full', take, { prefetch: 1 });
    await until('all', () => got.length === 90);
    const background = (from: number, to: number): number =>
      got.slice(from, to).filter((priority) => priority === 'background').length;
    // Of 90 messages 30 must go before 60 % are left; the round that has begun then goes on as it was.
    assert.ok(background(0, 30) >= 17, `${background(0, 30)} of the first 30: four of six`);
    assert.ok(background(36, 66) <= 12, `${background(36, 66)} of 30 later: one of three`);
  });

  it('keep the order of a key when the consumer that has it dies, and give all of it to another', async () => {
    const got: [who: string, n: number][] = [];
    const stuck: Message[] = [];
    const first = await member(0, 'keys', (message) => {
      const n = Number(message.text());
      if (n < 3) return got.push(['first', n]);
      stuck.push(message);
      return new Promise(() => {});
    });
    const publisher = await join(node.url, fresh(1));
    const send = (n: number) => publisher.publish('keys.x', `${n}`, { assured: true, key: 'a' });
    for (let n = 0; n < 10; n++) await send(n);
    await until('the one that it never finishes', () => stuck.length === 1);
    for (const slot of [0, 1])
      await member(slot, 'keys', (message) => {
        got.push([message.redelivered > 0 ? 'heir, again' : 'heir', Number(message.text())]);
      });
    assert.equal(got.length, 3, 'nobody works at the key beside it');
    await first.close();
    await until('all', () => got.length === 10);
    assert.deepEqual(
      got,
      Array.from({ length: 10 }, (_, n) => [n < 3 ? 'first' : n === 3 ? 'heir, again' : 'heir', n]),
    );
  });
});
