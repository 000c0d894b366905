import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Chunk } from '../../../../lib/queues/chunks.js';
import { BatchReader, Step } from '../../../../lib/wire/batch.js';
import { FrameType } from '../../../../lib/wire/frame.js';
import { deliveredOf } from '../../../../shards/doors/json-message.js';
import { journalDir } from '../../../../shards/journal/directory.js';
import { EVERY, Taker, twoShards } from '../two-shards.js';

/** Reads messages as the JSON door does, too. */
class Reader extends Taker {
  override send(chunk: { frames: number }): void {
    super.send(chunk);
    const { bytes, start, end } = chunk as Chunk;
    const reader = new BatchReader();
    reader.open(bytes, start, end, 1 << 20);
    while (reader.next() === Step.frame)
      if (reader.type === FrameType.deliver) JSON.stringify(deliveredOf(reader));
  }
}

/** What a disk may do to a file. */
const damage = fc.record({
  file: fc.nat(),
  at: fc.nat(),
  how: fc.constantFrom('flip', 'zero', 'noise', 'cut', 'twice'),
  size: fc.integer({ min: 1, max: 400 }),
  seed: fc.nat(255),
});
type Damage = typeof damage extends fc.Arbitrary<infer D> ? D : never;

function ruin(bytes: Buffer, { at, how, size, seed }: Damage): Buffer {
  if (bytes.length === 0) return bytes;
  const from = at % bytes.length;
  const to = Math.min(bytes.length, from + size);
  switch (how) {
    case 'flip':
      bytes[from] ^= 1 << (seed & 7);
      return bytes;
    case 'zero':
      return bytes.fill(0, from, to);
    case 'noise':
      for (let i = from; i < to; i++) bytes[i] = Math.imul(i ^ seed, 0x9e3779b1) >>> 24;
      return bytes;
    case 'cut':
      return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
    case 'twice':
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
  }
}

describe('a damaged journal', function () {
  this.timeout(60_000);
  const pair = twoShards();
  const { restart, closeAll, run, answered, open, consume, groupOn, assured, nack, shards } = pair;

  /** Leaves messages of all sorts, attempts and dead letters in the journals of shard 0; returns the group, and what was published. */
  async function fill(): Promise<{ group: string; published: Set<string> }> {
    const { session } = open(0, 'p');
    const published = new Set<string>();
    const send = (id: string, topic = 'work.x', size = 0, extra = {}, lane = 2): void => {
      published.add(id);
      assured(0, session, topic, id, size, extra, lane);
    };
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(0, 0, consumer.session, { lease: 60_000 });
    const fail = (): void =>
      nack(0, consumer.session, mailbox, consumer.taker.got.at(-1)!.offset, 'no paper');
    for (let i = 0; i < 5; i++) {
      send(`dead ${i}`, 'work.x', 0, { retry: { maxAttempts: 1, base: 1, cap: 1 } });
      run();
      fail();
    }
    assert.equal(shards[0].mailboxes.letters.size, 5);
    const retry = { maxAttempts: 3, base: 1, cap: 1 };
    const extras = [{}, { key: 'k' }, { headers: { h: 'ü' } }, { ttl: 60_000 }, { delay: 1 }, { retry }];
    for (let i = 0; i < 24; i++) {
      send(`message ${i}`, i % 3 === 0 ? `work.${i}` : 'work.x', 30 * (i % 4), extras[i % 6], i % 5);
      if (i % 4 === 3) run();
    }
    fail();
    shards[0].consuming.leave(consumer.session, mailbox);
    run();
    closeAll();
    return { group, published };
  }

  /** Has shard 0 do with its journals all that it can, and returns what it delivers. */
  async function use(group: string, fresh: string): Promise<string[]> {
    const { session, taker } = open(0, 'c', new Reader());
    const wish = { prefetch: 100, lease: 60_000, maxAge: 60_000, maxMessages: 1000 };
    await consume(0, session, group, 'work.*', wish);
    assured(0, open(0, 'p').session, 'work.y', fresh);
    run();
    const { desk } = shards[0];
    for (const { id } of (await answered(desk.list(EVERY, null, 100))).letters) await answered(desk.show(id));
    await answered(desk.replay({ filter: EVERY }));
    run();
    for (const { mailbox, offset } of taker.got.slice(0, 3)) nack(0, session, mailbox, offset, 'no ink');
    return taker.texts.map((text) => text.trim());
  }

  it('ends no shard, whatever is in it: what is delivered is what was published, and all else works', async () => {
    const { group, published } = await fill();
    const whole = `${pair.dataDir}-whole`;
    cpSync(pair.dataDir, whole, { recursive: true });
    const test = async (damages: readonly Damage[]): Promise<void> => {
      closeAll();
      rmSync(pair.dataDir, { recursive: true });
      cpSync(whole, pair.dataDir, { recursive: true });
      const files = readdirSync(journalDir(pair.dataDir, 0), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.journal'))
        .map((name) => join(journalDir(pair.dataDir, 0), name));
      for (const one of damages) {
        const path = files[one.file % files.length];
        writeFileSync(path, ruin(readFileSync(path), one));
      }
      // The second time it reads what it has made of it.
      for (const fresh of ['new 1', 'new 2']) {
        await restart();
        published.add(fresh);
        const got = await use(group, fresh);
        assert.ok(got.includes(fresh), 'the mailbox takes messages and hands them out');
        for (const text of got) assert.ok(published.has(text), text);
      }
    };
    try {
      await fc.assert(fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 6 }), test), {
        numRuns: 40,
      });
    } finally {
      rmSync(whole, { recursive: true });
    }
  });
});
