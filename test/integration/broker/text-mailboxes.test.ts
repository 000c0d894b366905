/** Mailboxes without the SDK: the JSON door, and HTTP. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Message } from '../../../lib/client/index.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, join, nameOn, startBroker, until } from './node.js';
import { TextAgent, type TextAnswer } from './text-agent.js';

describe('mailboxes by JSON and HTTP', () => {
  let dataDir: string;
  let node: RunningNode;
  const texts: TextAgent[] = [];
  let serial = 0;

  before(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-text-'));
    node = await startBroker({ dataDir, retryBase: 1, retryCap: 20 });
  });
  after(async () => {
    await node.stop();
    rmSync(dataDir, { recursive: true });
  });
  afterEach(async () => {
    for (const agent of texts.splice(0)) agent.end();
    await closeAgents();
  });

  function fresh(slot: number): string {
    return nameOn(slot, `text-${++serial}`);
  }

  async function text(slot: number, agentId = fresh(slot)): Promise<TextAgent> {
    const agent = await TextAgent.join(node.url, agentId);
    texts.push(agent);
    return agent;
  }

  function post(path: string, body: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${node.address.port}/v1/publish/${path}`, { method: 'POST', body });
  }

  function datas(messages: readonly TextAnswer[]): unknown[] {
    return messages.map(({ data }) => data);
  }

  for (const [from, to] of [
    [0, 0],
    [0, 1],
    [1, 0],
  ]) {
    it(`stores, delivers and acks by JSON: publisher on shard ${from}, consumer on ${to}`, async () => {
      const topic = `text.${serial}`;
      const member = await text(to);
      const consuming = await member.ask({ op: 'subscribe', pattern: topic, group: 'crew', prefetch: 2 });
      assert.equal(consuming.op, 'consuming');
      const publisher = await text(from);
      for (const n of [1, 2, 3])
        assert.deepEqual(
          await publisher.ask({ op: 'publish', topic, data: { n }, assured: true, id: `id-${n}` }),
          { op: 'stored', id: `id-${n}`, stored: 1, ref: n + 1 },
        );
      // A repeat is stored once, and acked all the same.
      const repeat = await publisher.ask({ op: 'publish', topic, data: { n: 3 }, assured: true, id: 'id-3' });
      assert.equal(repeat.stored, 1);
      await until('what prefetch lets through', () => member.messages.length === 2);
      const [first, second] = member.messages;
      const { mailbox, offset, attempt, redelivered, lease, topic: on } = first;
      assert.deepEqual(
        { mailbox, attempt, redelivered, lease, on, data: first.data },
        { mailbox: consuming.mailbox, attempt: 1, redelivered: 0, lease: 30_000, on: topic, data: { n: 1 } },
      );
      member.send({ op: 'nack', mailbox, offset: second.offset, reason: 'not now' });
      await member.ask({ op: 'ack', mailbox, offset });
      await until('the third, and the second again', () => member.messages.length === 4);
      const again = member.messages.find(({ attempt: n }) => n === 2)!;
      assert.deepEqual([again.offset, again.redelivered, again.data], [second.offset, 1, { n: 2 }]);
      member.send({ op: 'ack', mailbox, offset: second.offset, count: 2 });
      assert.equal((await member.ask({ op: 'unsubscribe', pattern: topic, group: 'crew' })).op, 'ack');
      // Had it acked less, another one would get it now.
      const heir = await text(1 - to);
      await heir.ask({ op: 'subscribe', pattern: topic, group: 'crew' });
      await publisher.ask({ op: 'publish', topic, data: 'last', assured: true });
      await until('the last', () => heir.messages.length > 0);
      assert.deepEqual(datas(heir.messages), ['last']);
      assert.equal(member.messages.length, 4);
    });
  }

  it('keeps what is sent to an agent that speaks JSON while it is away', async () => {
    const agentId = fresh(1);
    const first = await text(1, agentId);
    assert.equal((await first.ask({ op: 'subscribe', mailbox: true })).op, 'consuming');
    first.end();
    const sender = await text(0);
    const { op, stored, id } = await sender.ask({ op: 'send', to: agentId, data: 'kept', assured: true });
    assert.deepEqual([op, stored], ['stored', 1]);
    assert.match(id!, /^[0-9a-f-]{36}$/);
    const second = await text(1, agentId);
    await second.ask({ op: 'subscribe', mailbox: true });
    await until('it', () => second.messages.length === 1);
    assert.deepEqual(datas(second.messages), ['kept']);
    await second.ask({ op: 'unsubscribe', mailbox: true });
  });

  it('stores what is sent to a capability, for those who have said that they have it', async () => {
    const agent = await text(0);
    const refused = await agent.ask({ op: 'subscribe', capability: 'ocr' });
    assert.deepEqual([refused.op, refused.code], ['error', 'FORBIDDEN_TOPIC']);
    const able = await TextAgent.join(node.url, fresh(1), ['ocr']);
    texts.push(able);
    assert.equal((await able.ask({ op: 'subscribe', capability: 'ocr' })).op, 'consuming');
    const sent = await agent.ask({ op: 'send', capability: 'ocr', data: 8, assured: true });
    assert.deepEqual([sent.op, sent.stored], ['stored', 1]);
    await until('it', () => able.messages.length === 1);
    assert.deepEqual([able.messages[0].topic, able.messages[0].data], ['_capability.ocr', 8]);
  });

  it('says by JSON what was refused, and by which id', async () => {
    const agent = await text(0);
    const { op, code, id } = await agent.ask({
      op: 'publish',
      topic: 'x.y',
      data: 1,
      assured: true,
      id: 'i',
    });
    assert.deepEqual([op, code, id], ['error', 'NO_MAILBOX', 'i']);
    const tiny = { op: 'subscribe', pattern: 'tiny.*', group: 'g', maxMessages: 1, prefetch: 1 };
    assert.equal((await agent.ask(tiny)).op, 'consuming');
    await agent.ask({ op: 'publish', topic: 'tiny.x', data: 1, assured: true });
    const full = await agent.ask({ op: 'publish', topic: 'tiny.x', data: 2, assured: true, id: 'j' });
    assert.deepEqual([full.op, full.code, full.id], ['error', 'MAILBOX_FULL', 'j']);
    for (const wrong of [
      { op: 'publish', topic: 'a', data: 1, id: 'i' },
      { op: 'publish', topic: 'a', data: 1, assured: 1 },
      { op: 'publish', topic: 'a', data: 1, assured: true, id: 'x'.repeat(65) },
      { op: 'subscribe', pattern: 'a', group: 'g', mailbox: true },
      { op: 'subscribe', capability: 'c', mailbox: true },
      { op: 'subscribe', capability: 'c', pattern: 'a' },
      { op: 'send', capability: 'c', data: 1 },
      { op: 'send', capability: 'c', to: 'x', data: 1, assured: true },
      { op: 'subscribe', pattern: 'a', group: 'g', prefetch: 0 },
      { op: 'subscribe', patterns: ['a'], group: 'g' },
      { op: 'ack', mailbox: -1, offset: 1 },
      { op: 'ack', mailbox: 1, offset: 0 },
      { op: 'nack', mailbox: 1, offset: 1, reason: 7 },
    ]) {
      const answer = await agent.ask(wrong);
      assert.deepEqual([answer.op, answer.code], ['error', 'BAD_JSON'], JSON.stringify(wrong));
    }
    const big = { op: 'publish', topic: 'tiny.x', data: 'x'.repeat(65_000), assured: true };
    assert.equal((await agent.ask(big)).code, 'PAYLOAD_TOO_LARGE');
    const reserved = await agent.ask({ op: 'subscribe', pattern: '_agent.x', group: 'g' });
    assert.equal(reserved.code, 'FORBIDDEN_TOPIC');
    // Another node's shard, or none: nothing happens.
    assert.equal((await agent.ask({ op: 'ack', mailbox: 0xff00_0001, offset: 1 })).op, 'ack');
  });

  it('delays and tries again as a message says, by JSON and HTTP', async () => {
    const member = await text(0);
    await member.ask({ op: 'subscribe', pattern: 'tries.*', group: 'crew' });
    member.onMessage = ({ mailbox, offset }) => member.send({ op: 'nack', mailbox, offset, reason: 'no' });
    const publisher = await text(1);
    const began = performance.now();
    const sent = { op: 'publish', topic: 'tries.json', data: 'two', assured: true, delay: 200 };
    // The mailbox would try for longer than the test lasts.
    const retry = { maxAttempts: 2, base: 1, cap: 1 };
    assert.equal((await publisher.ask({ ...sent, retry })).stored, 1);
    assert.equal(
      (await post('tries.web?assured=true&maxAttempts=3&retryBase=1&retryCap=1', 'three')).status,
      200,
    );
    const letters = async (): Promise<{ topic: string; failures: number; cause: string }[]> => {
      const url = `http://127.0.0.1:${node.address.port}/v1/dead-letters?topic=tries.*`;
      return (await (await fetch(url)).json()).letters;
    };
    await until('both to be dead', async () => (await letters()).length === 2);
    assert.ok(performance.now() >= began + 200, 'not before its delay is over');
    const dead = (await letters()).map(({ topic, failures, cause }) => [topic, failures, cause]);
    assert.deepEqual(dead.sort(), [
      ['tries.json', 2, 'attempts'],
      ['tries.web', 3, 'attempts'],
    ]);
    assert.equal(member.messages.length, 5);
    await member.ask({ op: 'unsubscribe', pattern: 'tries.*', group: 'crew' });
  });

  it('stores by HTTP, once under one id, and answers with the status of what went wrong', async () => {
    assert.equal((await post('web.a?assured=true', 'x')).status, 404);
    const got: Message[] = [];
    const member = await join(node.url, fresh(0));
    await member.subscribe('web.*', (message) => void got.push(message), { group: 'web' });
    const began = Date.now();
    const answers = [
      await post('web.a?assured=true&id=order-1&priority=high&key=k', 'one'),
      await post('web.a?assured=true&id=order-1', 'one'),
      await post('web.a?assured=true&delay=200', 'two'),
    ];
    for (const answer of answers) {
      assert.equal(answer.status, 200);
      assert.deepEqual(await answer.json(), { stored: 1 });
    }
    await until('both', () => got.length === 2);
    assert.ok(Date.now() >= began + 200, 'not before its delay is over');
    assert.deepEqual(
      got.map((message) => [message.text(), message.from, message.priority, message.key]),
      [
        ['one', 'http', 'high', 'k'],
        ['two', 'http', 'normal', null],
      ],
    );
    for (const [query, status, code] of [
      ['assured=yes', 400, 'BAD_OPTION'],
      ['id=a', 400, 'BAD_OPTION'],
      [`assured=true&id=${'x'.repeat(65)}`, 400, 'BAD_OPTION'],
      ['assured=true&id=', 400, 'BAD_OPTION'],
    ] as const) {
      const answer = await post(`web.a?${query}`, 'x');
      assert.deepEqual([answer.status, (await answer.json()).code], [status, code], query);
    }
    const nobody = await post('nobody.x?assured=true', 'x');
    assert.equal((await nobody.json()).code, 'NO_MAILBOX');
  });
});
