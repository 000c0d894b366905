import assert from 'node:assert/strict';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock } from 'node:test';
import type { LetterPage } from '../../../lib/dead-letter.js';
import { RecordKind } from '../../../lib/links.js';
import type { Chunk } from '../../../lib/queues/chunks.js';
import { MailboxEntry } from '../../../lib/queues/mailbox-entry.js';
import { C } from '../../../lib/telemetry/counters.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import { checksumSeed, sealFrame } from '../../../lib/wire/checksum.js';
import type { BreakerChange, MailboxPressure } from '../../../lib/wire/control.js';
import { ACK_SIZE, DeliveryReader, nackPayload, writeAck } from '../../../lib/wire/delivery.js';
import { Encoding, Flag, FrameType, HEADER_SIZE, OFFSET_FLAGS } from '../../../lib/wire/frame.js';
import { readStored } from '../../../lib/wire/stored.js';
import { readUtf8, utf8 } from '../../../lib/wire/text.js';
import { FrameWriter } from '../../../lib/wire/writer.js';
import { MAX_CONSUMED } from '../../../shards/consuming.js';
import type { ConsumeSpec } from '../../../shards/intake.js';
import { journalDir, orphansOf } from '../../../shards/journal/directory.js';
import type { Refusal } from '../../../shards/publishing.js';
import type { Session } from '../../../shards/session.js';
import type { Shard } from '../../../shards/shard.js';
import { Counter, HELLO, makeShard, publish, Wires } from './wires.js';

interface Got {
  text: string;
  mailbox: number;
  offset: number;
  attempt: number;
  repeated: boolean;
}

/** Takes the frames of a session apart. */
class Taker extends Counter {
  readonly got: Got[] = [];
  readonly stored: string[] = [];
  readonly refused: string[] = [];
  readonly changes: string[] = [];

  override send(chunk: { frames: number }): void {
    super.send(chunk);
    const { bytes, start, end } = chunk as Chunk;
    const reader = new BatchReader();
    reader.open(bytes, start, end, 1 << 20);
    while (reader.next() === Step.frame) {
      if (reader.type === FrameType.deliver) {
        const delivery = new DeliveryReader();
        assert.ok(delivery.read(bytes, reader.payloadStart, reader.end));
        const { mailbox, offset, attempt, repeated } = delivery;
        const inner = new BatchReader();
        inner.open(bytes, delivery.start, reader.end, 1 << 20);
        assert.equal(inner.next(), Step.frame);
        this.got.push({
          text: readUtf8(bytes, inner.payloadStart, inner.end),
          mailbox,
          offset,
          attempt,
          repeated,
        });
      } else if (reader.type === FrameType.ack)
        assert.ok(
          readStored(bytes, reader.payloadStart, reader.end, (id, from, to, n) =>
            this.stored.push(`${readUtf8(id, from, to)}=${n}`),
          ),
        );
    }
  }

  pressure({ mailbox, active }: MailboxPressure): void {
    this.changes.push(`${mailbox} ${active}`);
  }

  breaker({ name, state, reason }: BreakerChange): void {
    this.changes.push(`${name} ${state} ${reason}`);
  }

  refuse({ code, correlation }: Refusal): void {
    this.refused.push(`${readUtf8(correlation!, 0, correlation!.length)}: ${code}`);
  }

  get texts(): string[] {
    return this.got.map(({ text }) => text);
  }
}

describe('mailboxes of two shards', () => {
  let dataDir: string;
  let wires: Wires;
  let shards: Shard[];
  /** What the shards would write into their logs. */
  const logged: string[] = [];
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'flowbus-homes-'));
    wires = new Wires();
    shards = [begin(0, 1), begin(1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    run();
  });
  afterEach(() => {
    for (const shard of shards) shard.mailboxes.close();
    rmSync(dataDir, { recursive: true });
  });

  function begin(slot: number, incarnation: number, maxBytes = 1_000_000, write?: typeof writeSync): Shard {
    const settings = { lease: 100, retryBase: 1, retryCap: 1, backlog: 128 * 1024 };
    const shard = makeShard(wires, slot, incarnation, settings, undefined, (agentId, { state }) =>
      logged.push(`${slot}: ${agentId} ${state}`),
    );
    shard.recover({ dir: journalDir(dataDir, slot), fsync: 'never', maxBytes, write }, []);
    return shard;
  }

  function run(): void {
    for (let i = 0; i < 3; i++) {
      for (const shard of shards) shard.exchange.endTurn();
      wires.run([0, 1]);
    }
  }

  /** What is due comes by itself meanwhile, as in a process: nobody calls `check`. */
  async function until(holds: () => boolean): Promise<void> {
    for (run(); !holds(); run()) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  function open(slot: number, agentId: string): { session: Session; taker: Taker } {
    const { session } = shards[slot].sessions.open({ ...HELLO, agentId });
    const taker = new Taker();
    shards[slot].sessions.attach(session, taker);
    run();
    return { session, taker };
  }

  function spec(
    session: Session,
    group: string,
    pattern: string,
    wish: Partial<ConsumeSpec> = {},
  ): ConsumeSpec {
    return {
      kind: 'group',
      name: group,
      pattern,
      consumer: session.agent.agentId,
      prefetch: 10,
      lease: 0,
      maxAge: 0,
      maxMessages: 0,
      balance: null,
      breaker: null,
      maxAttempts: 0,
      retryBase: 0,
      retryCap: 0,
      ...wish,
    };
  }

  /** Resolves when it consumes; the links are run meanwhile. */
  async function consume(
    slot: number,
    session: Session,
    group: string,
    pattern: string,
    wish: Partial<ConsumeSpec> = {},
  ): Promise<number> {
    const consuming = shards[slot].consuming.consume(session, spec(session, group, pattern, wish));
    let done = false;
    const end = (): void => {
      done = true;
    };
    consuming.then(end, end);
    while (!done) {
      run();
      await Promise.resolve();
    }
    return consuming;
  }

  function assured(
    slot: number,
    session: Session,
    topic: string,
    id: string,
    size = 0,
    extra = {},
    lane = 2,
  ): void {
    const frame = new FrameWriter(65_536).publish({
      topic,
      sender: session.sender.number,
      from: session.sender.text,
      lane,
      encoding: Encoding.text,
      payload: utf8(id + ' '.repeat(size)),
      extensions: { messageId: id, ...extra },
    });
    frame[OFFSET_FLAGS] |= Flag.assured;
    sealFrame(frame, 0, frame.length, checksumSeed(session.sender.text, topic));
    const reader = new BatchReader();
    reader.open(frame, 0, frame.length, frame.length);
    assert.equal(reader.next(), Step.frame);
    const refusal = shards[slot].publishing.take(session, reader);
    if (refusal !== null) (session.sink as Taker).refuse(refusal);
  }

  function ack(slot: number, session: Session, mailbox: number, offset: number, count = 1): void {
    const runs = new Uint8Array(ACK_SIZE);
    writeAck(runs, 0, mailbox, offset, count);
    shards[slot].consuming.ack(session, runs, 0, runs.length);
    run();
  }

  // Groups whose homes are on each of the shards, by the names that the ring puts there.
  async function groupOn(
    home: number,
    slot: number,
    session: Session,
    limits = {},
    pattern = 'work.*',
  ): Promise<{ group: string; mailbox: number }> {
    for (let n = 0; ; n++) {
      const mailbox = await consume(slot, session, `g${n}`, pattern, limits);
      if (mailbox >>> 24 === home) return { group: `g${n}`, mailbox };
      shards[slot].consuming.leave(session, mailbox);
      shards[mailbox >>> 24].table.remove(mailbox);
      shards[1 - (mailbox >>> 24)].table.remove(mailbox);
      run();
    }
  }

  for (const home of [0, 1]) {
    for (const from of [0, 1]) {
      for (const to of [0, 1]) {
        it(`journal, ack and deliver: from shard ${from} by a mailbox on ${home} to shard ${to}`, async () => {
          const publisher = open(from, 'p');
          const consumer = open(to, 'c');
          const { mailbox } = await groupOn(home, to, consumer.session);
          for (const id of ['a', 'b', 'c']) assured(from, publisher.session, 'work.x', id);
          assert.equal(consumer.taker.got.length, 0, 'before the turn ends nothing is journaled');
          run();
          assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1', 'c=1']);
          assert.deepEqual(consumer.taker.texts, ['a', 'b', 'c']);
          assert.ok(consumer.taker.got.every(({ repeated, attempt }) => !repeated && attempt === 1));
          ack(to, consumer.session, mailbox, consumer.taker.got[0].offset, 2);
          // What is not acked is the next consumer's when this one's connection is gone.
          shards[to].sessions.lost(consumer.session, true);
          run();
          const heir = open(1 - to, 'heir');
          const again = await consume(
            1 - to,
            heir.session,
            shards[home].table.find(mailbox)!.notice.name.split(':')[1],
            'work.*',
          );
          run();
          assert.equal(again, mailbox);
          assert.deepEqual(heir.taker.texts, ['c']);
          assert.ok(heir.taker.got[0].repeated);
        });
      }
    }
  }

  it('come back with all that was not acked, flagged, when their shard begins anew; its peer refuses meanwhile', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(1, 0, consumer.session);
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    run();
    ack(0, consumer.session, mailbox, consumer.taker.got[1].offset);

    wires.readers[1] = null;
    shards[0].peerDown(1, 1);
    assured(0, publisher.session, 'work.x', 'refused');
    shards[0].exchange.endTurn();
    assert.deepEqual(publisher.taker.refused, ['refused: MAILBOX_UNAVAILABLE']);
    shards[1].mailboxes.close();
    shards[1] = begin(1, 2);
    await shards[1].start([]);
    run();
    assured(0, publisher.session, 'work.x', 'b');
    assured(0, publisher.session, 'work.x', 'd');
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1', 'c=1', 'b=1', 'd=1']);
    const back = consumer.taker.got.slice(3);
    assert.deepEqual(
      back.map(({ text, repeated }) => [text, repeated]),
      [
        ['a', true],
        ['c', true],
        ['d', false],
      ],
    );
  });

  for (const home of [0, 1]) {
    it(`on shard ${home} give a consumer that fails nothing more, tell it so, and give its share to another`, async () => {
      const publisher = open(0, 'p');
      const sick = open(1, 'sick');
      const { group, mailbox } = await groupOn(home, 1, sick.session);
      for (let i = 0; i < 5; i++) assured(0, publisher.session, 'work.x', `a${i}`);
      run();
      for (const { offset } of sick.taker.got) {
        const nack = nackPayload(mailbox, offset, 'no paper');
        shards[1].consuming.nack(sick.session, nack, 0, nack.length);
      }
      run();
      assert.deepEqual(sick.taker.changes, [`group:${group}:work.* open nack`]);
      assert.deepEqual(logged.splice(0), [`${home}: sick open`]);
      const well = open(0, 'well');
      await consume(0, well.session, group, 'work.*');
      for (let i = 0; i < 4; i++) assured(0, publisher.session, 'work.x', `b${i}`);
      run();
      assert.deepEqual(
        well.taker.texts.filter((text) => text.startsWith('b')),
        ['b0', 'b1', 'b2', 'b3'],
      );
      assert.equal(sick.taker.got.length, 5);
      assert.deepEqual(well.taker.changes, []);
      shards[home].check(0);
      const { counters } = shards[home].exchange;
      assert.deepEqual([counters[C.breakersOpen], counters[C.breakersOpened]], [1, 1]);
      // It leaves, and its breaker with it.
      shards[1].consuming.leave(sick.session, mailbox);
      run();
      shards[home].check(0);
      assert.equal(counters[C.breakersOpen], 0);
    });
  }
  it('hold back what is delayed, also when their shard began anew meanwhile, and from those who have no mailbox', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    shards[0].interest.subscribe(publisher.session, ['work.*']);
    const stored = Date.now();
    assured(0, publisher.session, 'work.x', 'later', 0, { delay: 300 });
    assured(0, publisher.session, 'work.x', 'now');
    run();
    assert.deepEqual(publisher.taker.stored, ['later=1', 'now=1']);
    assert.deepEqual(consumer.taker.texts, ['now']);
    wires.readers[1] = null;
    shards[0].peerDown(1, 1);
    shards[1].mailboxes.close();
    shards[1] = begin(1, 2);
    await shards[1].start([]);
    run();
    await until(() => consumer.taker.texts.includes('later'));
    assert.ok(Date.now() >= stored + 300);
    assert.equal(publisher.taker.frames, 1, 'live, only what is not delayed');
  });

  it('share and break as the last to consume wished, also when their shard begins anew', async () => {
    const publisher = open(0, 'p');
    const sick = open(0, 'sick');
    const { group, mailbox } = await groupOn(0, 0, sick.session);
    for (let i = 0; i < 5; i++) assured(0, publisher.session, 'work.x', `${i}`);
    run();
    for (const { offset } of sick.taker.got) {
      const nack = nackPayload(mailbox, offset, 'no paper');
      shards[0].consuming.nack(sick.session, nack, 0, nack.length);
    }
    assert.deepEqual(sick.taker.changes, [`group:${group}:work.* open nack`]);
    const breaker = { failures: -1, window: 0, coolDown: 7, slowAck: 9 };
    const other = open(1, 'other');
    await consume(1, other.session, group, 'work.*', { balance: 'round-robin', breaker });
    assert.equal(sick.taker.changes.at(-1), `group:${group}:work.* closed recovered`);
    const policy = () => shards[0].table.find(mailbox)?.home?.mailbox.policy;
    const wished = { failures: 0, window: 300_000, coolDown: 7, slowAck: 9 };
    assert.deepEqual([policy()?.balance, policy()?.breaker], ['round-robin', wished]);
    shards[0].mailboxes.close();
    shards[0] = begin(0, 2);
    assert.deepEqual([policy()?.balance, policy()?.breaker], ['round-robin', wished]);
    // Who wishes nothing leaves it as it is.
    const late = open(0, 'late');
    await consume(0, late.session, group, 'work.*');
    assert.deepEqual([policy()?.balance, policy()?.breaker], ['round-robin', wished]);
  });

  it('take live messages for groups, and give each to one session, wherever it was published', async () => {
    const members = [open(0, 'm0'), open(1, 'm1')];
    const { group } = await groupOn(0, 0, members[0].session);
    await consume(1, members[1].session, group, 'work.*');
    const publishers = [open(0, 'p0'), open(1, 'p1')];
    for (const [slot, { session }] of publishers.entries())
      for (let i = 0; i < 4; i++) publish(shards[slot], session, 'work.live', i);
    run();
    assert.deepEqual([members[0].taker.got.length, members[1].taker.got.length], [4, 4]);
  });

  it('refuse what the journal has no room for, and take the next when there is', async () => {
    for (const shard of shards) shard.mailboxes.close();
    wires = new Wires();
    shards = [begin(0, 1, 2000), begin(1, 1, 2000)];
    await Promise.all(shards.map((shard) => shard.start([])));
    run();
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(0, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a', 1000);
    assured(0, publisher.session, 'work.x', 'b', 1000);
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1']);
    assert.deepEqual(publisher.taker.refused, ['b: JOURNAL_FULL']);
    ack(0, consumer.session, mailbox, consumer.taker.got[0].offset);
    assured(0, publisher.session, 'work.x', 'b', 1000);
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1']);
  });

  it('move to a slot that is left when the node has fewer, with a higher epoch, and leave nothing behind', async () => {
    const publisher = open(1, 'p');
    const consumer = open(1, 'c');
    const { group, mailbox } = await groupOn(1, 1, consumer.session);
    shards[1].consuming.leave(consumer.session, mailbox);
    for (const id of ['a', 'b']) assured(1, publisher.session, 'work.x', id);
    run();
    for (const shard of shards) shard.mailboxes.close();
    wires = new Wires();
    const left = makeShard(wires, 0, 1, { shards: 1 });
    const copy = join(dataDir, 'copy');
    cpSync(journalDir(dataDir, 1), copy, { recursive: true });
    const orphans = orphansOf(dataDir, 0, 1);
    assert.deepEqual(orphans, [journalDir(dataDir, 1)]);
    const settings = { dir: journalDir(dataDir, 0), fsync: 'never' as const, maxBytes: 1_000_000 };
    assert.equal(left.recover(settings, orphans), 2);
    assert.deepEqual(orphansOf(dataDir, 0, 1), []);
    const notice = left.table.named(`group:${group}:work.*`)?.notice;
    assert.equal(notice?.epoch, 2);
    left.mailboxes.close();
    // And again, from its own journal.
    const again = makeShard(new Wires(), 0, 1, { shards: 1 });
    assert.equal(again.recover(settings, []), 2);
    again.mailboxes.close();
    // As if it had been killed before it had removed the other: nothing is in two mailboxes.
    renameSync(copy, journalDir(dataDir, 1));
    const killed = makeShard(new Wires(), 0, 1, { shards: 1 });
    assert.equal(killed.recover(settings, orphansOf(dataDir, 0, 1)), 4);
    const names = killed.mailboxes.notices().map(({ name }) => name);
    assert.deepEqual([...new Set(names)], names);
    const { home } = killed.table.named(`group:${group}:work.*`)!;
    const offsets = [...home!.mailbox.entries()].map(({ offset, repeated }) => [offset, repeated]);
    assert.deepEqual(
      offsets,
      [1, 2, 3, 4].map((offset) => [offset, true]),
    );
    killed.mailboxes.close();
    const last = makeShard(new Wires(), 0, 1, { shards: 1 });
    assert.equal(last.recover(settings, []), 4);
    last.mailboxes.close();
    shards = [];
  });

  function nack(slot: number, session: Session, mailbox: number, offset: number, reason: string): void {
    const payload = nackPayload(mailbox, offset, reason);
    shards[slot].consuming.nack(session, payload, 0, payload.length);
    run();
  }

  /** Runs the links until what was asked is answered. */
  async function answered<T>(question: Promise<T>): Promise<T> {
    let done = false;
    const end = (): void => {
      done = true;
    };
    question.then(end, end);
    while (!done) {
      run();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return question;
  }

  /** Nacks what comes until it is dead. */
  async function kill(slot: number, session: Session, mailbox: number, reason: string): Promise<void> {
    const { got } = session.sink as Taker;
    for (let seen = 0; ; ) {
      if (got.length > seen) nack(slot, session, mailbox, got[seen++].offset, reason);
      for (const shard of shards) shard.mailboxes.check();
      run();
      if (shards[mailbox >>> 24].mailboxes.letters.size > 0) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  const EVERY = { mailbox: null, kind: null, pattern: null, since: null };

  for (const home of [0, 1]) {
    it(`give up on what fails for ever, and any shard shows and replays it, with both its lives: mailbox on ${home}`, async () => {
      const publisher = open(1, 'p');
      const consumer = open(0, 'c');
      const { mailbox } = await groupOn(home, 0, consumer.session);
      assured(1, publisher.session, 'work.x', 'doomed');
      run();
      await kill(0, consumer.session, mailbox, 'out\n of paper');
      assert.equal(consumer.taker.got.length, 5);
      assert.equal(shards[home].mailboxes.letters.size, 1);

      const { desk } = shards[1];
      const page = await answered(desk.list({ ...EVERY, pattern: 'work.*' }, null, 10));
      assert.deepEqual([page.letters.length, page.cursor, page.missing], [1, null, []]);
      const [{ id, kind, cause, from, topic, failures, reason }] = page.letters;
      assert.deepEqual([kind, cause, from, topic, failures], ['unknown-error', 'attempts', 'p', 'work.x', 5]);
      assert.equal(reason, 'out  of paper');
      const letter = await answered(desk.show(id));
      assert.deepEqual([letter.data, letter.messageId, letter.lives], ['doomed', 'doomed', []]);
      assert.deepEqual(
        letter.attempts.map(({ consumer: who, outcome }) => `${who} ${outcome}`),
        Array.from({ length: 5 }, () => 'c nack'),
      );

      // What a crash finds in the journal is what is shown.
      assert.deepEqual(await answered(desk.replay({ id })), {
        done: 1,
        refused: [],
        more: false,
        missing: [],
      });
      run();
      assert.equal(shards[home].mailboxes.letters.size, 0);
      assert.deepEqual(
        consumer.taker.got.slice(5).map(({ text, attempt, repeated }) => [text, attempt, repeated]),
        [['doomed', 1, true]],
      );
      consumer.taker.got.splice(0, 5);
      await kill(0, consumer.session, mailbox, 'again');
      const [again] = (await answered(desk.list(EVERY, null, 10))).letters;
      const twice = await answered(desk.show(again.id));
      assert.deepEqual([twice.failures, twice.reason], [5, 'again']);
      assert.deepEqual(
        twice.lives.map(({ cause: why, failures: times, attempts }) => [why, times, attempts.at(-1)?.reason]),
        [['attempts', 5, 'out  of paper']],
      );
      await answered(desk.replay({ filter: EVERY }));
      run();
      consumer.taker.got.splice(0, 5);
      await kill(0, consumer.session, mailbox, 'never');
      const [last] = (await answered(desk.list(EVERY, null, 10))).letters;
      const { lives } = await answered(desk.show(last.id));
      assert.deepEqual(
        lives.map(({ attempts }) => attempts.at(-1)?.reason),
        ['out  of paper', 'again'],
      );
      assert.equal((await answered(desk.purge({ filter: { ...EVERY, kind: 'unknown-error' } }))).done, 1);
      assert.deepEqual((await answered(desk.list(EVERY, null, 10))).letters, []);
      await assert.rejects(answered(desk.show(id)), { code: 'NOT_FOUND' });
      await assert.rejects(answered(desk.replay({ id: '7-1' })), { code: 'NOT_FOUND' });
    });
  }

  it('keep attempts, dead letters and earlier lives when their shard begins anew', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    await kill(0, consumer.session, mailbox, 'first');
    const [{ id }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    await answered(shards[0].desk.replay({ id }));
    run();
    nack(0, consumer.session, mailbox, consumer.taker.got[5].offset, 'second');
    shards[1].mailboxes.turn();

    // Killed: nothing is closed.
    wires.readers[1] = null;
    shards[0].peerDown(1, 1);
    const { missing } = await answered(shards[0].desk.list(EVERY, null, 10));
    assert.deepEqual(missing, [1]);
    await assert.rejects(answered(shards[0].desk.show(id)), { code: 'MAILBOX_UNAVAILABLE' });
    const dead = shards[1];
    shards[1] = begin(1, 2);
    consumer.taker.got.length = 0;
    await shards[1].start([]);
    run();
    await kill(0, consumer.session, mailbox, 'third');
    dead.mailboxes.close();
    const [letter] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    const { attempts, lives } = await answered(shards[0].desk.show(letter.id));
    assert.deepEqual(
      attempts.map(({ reason }) => reason),
      ['second', 'third', 'third', 'third', 'third'],
    );
    assert.deepEqual(lives.length, 1);
  });

  it('make a dead letter of what comes damaged over a link, and tell its publisher to repeat it', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    for (const shard of shards) shard.exchange.endTurn();
    const [record] = wires.queues[1].flat().filter(({ kind }) => kind === RecordKind.assured);
    record.bytes[record.bytes.length - 1] ^= 1;
    run();
    assert.deepEqual(publisher.taker.refused, ['a: CHECKSUM_MISMATCH']);
    assert.deepEqual(consumer.taker.got, []);
    const [{ id, kind }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    assert.equal(kind, 'message-corruption');
    const refused = [{ id, code: 'CHECKSUM_MISMATCH' }];
    assert.deepEqual(await answered(shards[0].desk.replay({ id })), {
      done: 0,
      refused,
      more: false,
      missing: [],
    });
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1']);
  });

  it('keep as poison what crashed their shard twice, and store no repeat of it', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    for (const shard of shards) shard.exchange.endTurn();
    const [path] = wires.queues[1].filter((items) => items.some(({ kind }) => kind === RecordKind.assured));
    const [{ bytes }] = path.splice(
      path.findIndex(({ kind }) => kind === RecordKind.assured),
      1,
    );
    shards[1].assured.poisoned(bytes, 0, bytes.length);
    // Its publisher had heard that the shard was gone.
    shards[0].assured.peerLost(1);
    assert.deepEqual(publisher.taker.refused, ['a: MAILBOX_UNAVAILABLE']);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual([publisher.taker.stored, consumer.taker.got], [['a=1'], []]);
    const [{ kind, cause, topic, id }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    assert.deepEqual([kind, cause, topic], ['poison-message', 'crash', 'work.x']);
    assert.equal((await answered(shards[0].desk.show(id))).data, 'a');
  });

  it('deliver what is whole, and make dead letters of what is not, when the disk has lost a byte of the journal', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(1, 0, consumer.session);
    shards[0].consuming.leave(consumer.session, mailbox);
    run();
    for (const id of ['before', 'first', 'second', 'behind']) {
      assured(0, publisher.session, 'work.x', id, 50);
      if (id !== 'first') run();
    }
    wires.readers[1] = null;
    shards[0].peerDown(1, 1);
    shards[1].mailboxes.close();
    const dir = journalDir(dataDir, 1);
    const file = join(
      dir,
      readdirSync(dir)
        .filter((name) => name.endsWith('.journal'))
        .at(-1)!,
    );
    const bytes = readFileSync(file);
    const at = bytes.indexOf('second ');
    assert.ok(at > 0);
    bytes[at + 20] ^= 1;
    writeFileSync(file, bytes);
    shards[1] = begin(1, 2);
    await shards[1].start([]);
    run();
    await consume(0, consumer.session, group, 'work.*');
    run();
    const texts = consumer.taker.texts.map((text) => text.trim());
    assert.deepEqual(texts, ['before', 'first', 'behind']);
    const { letters } = await answered(shards[0].desk.list(EVERY, null, 10));
    assert.deepEqual(
      letters.map(({ kind, topic, from }) => [kind, topic, from]),
      [['message-corruption', 'work.x', 'p']],
    );
  });

  it('hold it against a message that its consumer broke off, not that it left', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    assured(0, publisher.session, 'work.x', 'b');
    run();
    shards[0].consuming.leave(consumer.session, mailbox);
    run();
    await consume(0, consumer.session, group, 'work.*');
    run();
    assert.deepEqual(
      consumer.taker.got.map(({ attempt }) => attempt),
      [1, 1, 1, 1],
    );
    shards[0].sessions.lost(consumer.session, true);
    run();
    const heir = open(1, 'heir');
    await consume(1, heir.session, group, 'work.*');
    run();
    assert.deepEqual(
      heir.taker.got.map(({ text, attempt }) => [text, attempt]),
      [
        ['a', 2],
        ['b', 1],
      ],
    );
  });

  it('show pages of all shards in one order, newest first', async () => {
    const consumer = open(0, 'c');
    for (const home of [0, 1]) await groupOn(home, 0, consumer.session);
    const publisher = open(0, 'p');
    for (let i = 0; i < 7; i++) assured(0, publisher.session, 'work.x', `m${i}`);
    run();
    for (const shard of shards) {
      for (const { handle } of shard.mailboxes.notices()) {
        const home = shard.table.find(handle)?.home ?? null;
        if (home === null) continue;
        for (const entry of [...home.mailbox.entries()]) {
          home.mailbox.withdraw(entry);
          home.onDead(entry, 'expired');
        }
      }
      shard.mailboxes.turn();
    }
    const all: string[] = [];
    let cursor: string | null = null;
    do {
      const page: LetterPage = await answered(shards[1].desk.list(EVERY, cursor, 3));
      assert.ok(page.letters.length <= 3);
      all.push(...page.letters.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor !== null);
    assert.equal(all.length, 14);
    assert.equal(new Set(all).size, 14);
    const numbers = all.map((id) => Number(id.split('-')[1]));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => b - a),
    );
    await assert.rejects(shards[0].desk.list(EVERY, 'nonsense', 3), { code: 'BAD_OPTION' });
  });

  it('show the letters of a shard that says less than it was asked before older ones of another', async () => {
    const die = (slot: number, count: number): void => {
      for (let i = 0; i < count; i++) {
        const bytes = new Uint8Array(HEADER_SIZE);
        const entry = new MailboxEntry(1, 2, 'p', 't'.repeat(200), '', bytes, 0, bytes.length, 0, 0, 1);
        shards[slot].mailboxes.letters.add(entry, 'agent:a', 'unknown-error', 'attempts', () => {});
      }
    };
    die(1, 1);
    const first = Date.now();
    while (Date.now() === first) await Promise.resolve();
    // More than fit into one answer.
    die(0, 300);
    const seen: string[] = [];
    let cursor: string | null = null;
    let pages = 0;
    do {
      const page: LetterPage = await answered(shards[1].desk.list(EVERY, cursor, 500));
      seen.push(...page.letters.map(({ id }) => id));
      cursor = page.cursor;
      pages++;
    } while (cursor !== null);
    assert.ok(pages > 1);
    assert.equal(seen.length, 301);
    assert.ok(seen.at(-1)?.startsWith('1-'));
  });

  it('refuse everything while the disk is full, and take it when it is not', async () => {
    for (const shard of shards) shard.mailboxes.close();
    wires = new Wires();
    let full = false;
    const write = ((fd: number, b: Uint8Array, at: number, length: number): number => {
      if (full) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      return writeSync(fd, b, at, length);
    }) as typeof writeSync;
    shards = [begin(0, 1, 1_000_000, write), begin(1, 1, 1_000_000, write)];
    await Promise.all(shards.map((shard) => shard.start([])));
    run();
    const publisher = open(0, 'p');
    const consumer = open(1, 'c');
    await groupOn(1, 1, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    full = true;
    assured(0, publisher.session, 'work.x', 'b');
    assured(0, publisher.session, 'work.x', 'c');
    run();
    await assert.rejects(consume(1, consumer.session, 'another', 'work.*'), { code: 'JOURNAL_FULL' });
    full = false;
    assured(0, publisher.session, 'work.x', 'b');
    run();
    assert.deepEqual(publisher.taker.refused, ['b: JOURNAL_FULL', 'c: JOURNAL_FULL']);
    assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1']);
    assert.deepEqual(consumer.taker.texts, ['a', 'b']);
    for (const shard of shards) {
      shard.mailboxes.check();
      shard.mailboxes.close();
    }
    wires = new Wires();
    shards = [begin(0, 2), begin(1, 2)];
    const names = shards.flatMap((shard) => shard.mailboxes.notices().map(({ name }) => name));
    assert.equal(
      names.includes('group:another:work.*'),
      false,
      'what was refused is not there at the next start',
    );
  });

  it('are given up on when their shard lives and does not answer, so that nobody waits for ever', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    const back = shards[1].exchange.peers[0]!;
    back.listening = false;
    assured(0, publisher.session, 'work.x', 'a');
    run();
    const { now } = shards[0].exchange;
    shards[0].assured.check(now + 29_000);
    assert.deepEqual(publisher.taker.refused, []);
    shards[0].assured.check(now + 30_000);
    assert.deepEqual(publisher.taker.refused, ['a: MAILBOX_UNAVAILABLE']);
    back.listening = true;
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1']);
  });

  it('hand neighbours over together, but for those of another session or lane, and no more than a piece of memory holds', async () => {
    const publisher = open(0, 'p');
    const takers = [open(0, 'c'), open(0, 'd')];
    const { group } = await groupOn(0, 0, takers[0].session);
    await consume(0, takers[1].session, group, 'work.*');
    const handed: string[][] = [];
    for (const { session } of takers) {
      const deliver = session.deliver.bind(session);
      session.deliver = (lane, src, start, end) => {
        const frames = new BatchReader();
        frames.open(src, start, end, 1 << 20);
        const lanes: string[] = [];
        while (frames.next() === Step.frame) {
          assert.equal(frames.lane, lane);
          lanes.push(`${session.agent.agentId}${lane}`);
        }
        assert.ok(end - start < 65_536);
        handed.push(lanes);
        return deliver(lane, src, start, end, 0);
      };
    }
    const ids = ['a', 'b', 'e', 'f'];
    for (const [i, id] of ids.entries()) assured(0, publisher.session, 'work.x', id, 0, {}, i < 2 ? 0 : 4);
    run();
    assert.deepEqual(handed.flat().sort(), ['c0', 'c4', 'd0', 'd4']);
    assert.deepEqual(takers.flatMap(({ taker }) => taker.texts).sort(), ids);
    shards[0].sessions.lost(takers[1].session, false);
    run();
    handed.length = 0;
    for (const id of ['1', '2', '3']) assured(0, publisher.session, 'work.x', id);
    for (const id of ['4', '5']) assured(0, publisher.session, 'work.x', id, 60_000);
    run();
    assert.deepEqual(
      handed.map(({ length }) => length),
      [3, 1, 1],
    );
  });

  it('are acked when they are stored, however long another one waits for its mailbox', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    const { mailbox } = await groupOn(0, 0, consumer.session, {}, 'near.*');
    // Nothing is delivered: there is no lease whose end would end a turn.
    shards[0].consuming.leave(consumer.session, mailbox);
    run();
    shards[1].exchange.peers[0]!.listening = false;
    assured(0, publisher.session, 'work.x', 'far');
    assured(0, publisher.session, 'near.x', 'near');
    await until(() => publisher.taker.stored.length > 0);
    assert.deepEqual(publisher.taker.stored, ['near=1']);
    shards[0].assured.check(shards[0].exchange.now + 30_000);
    assert.deepEqual(publisher.taker.refused, ['far: MAILBOX_UNAVAILABLE']);
    assured(0, publisher.session, 'near.x', 'alone');
    run();
    assert.deepEqual(publisher.taker.stored, ['near=1', 'alone=1']);
  });

  it('try again what failed as soon as its wait is over, without being looked at', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(0, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    const nack = nackPayload(mailbox, consumer.taker.got[0].offset, 'no');
    shards[0].consuming.nack(consumer.session, nack, 0, nack.length);
    // A lease, by the settings of this test 100 ms, ends by itself as well.
    await until(() => consumer.taker.got.length === 3);
    assert.deepEqual(
      consumer.taker.got.map(({ attempt }) => attempt),
      [1, 2, 3],
    );
  });

  it('take acks of more than a consumer may have by now', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(0, 0, consumer.session, { lease: 60_000 });
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    run();
    await consume(0, consumer.session, group, 'work.*', { prefetch: 1, lease: 60_000 });
    ack(0, consumer.session, mailbox, consumer.taker.got[0].offset, 3);
    assert.equal(shards[0].exchange.counters[C.mailboxAcks], 3);
  });

  it('have a bound for each connection, also of those that it asks for all at once', async () => {
    const { session } = open(0, 'c');
    const asked = Array.from({ length: MAX_CONSUMED + 10 }, (_, n) =>
      shards[0].consuming.consume(session, spec(session, `many${n}`, 'work.*')),
    );
    let ended: PromiseSettledResult<number>[] | null = null;
    Promise.allSettled(asked).then((results) => {
      ended = results;
    });
    await until(() => ended !== null);
    const refused = ended!.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 10);
    assert.equal((refused[0] as PromiseRejectedResult).reason.code, 'LIMIT_REACHED');
  });

  it('give a consumer nothing that is small enough ahead of what its way had no room for', async () => {
    const publisher = open(0, 'p');
    const slow = open(0, 'slow');
    await groupOn(0, 0, slow.session, { lease: 60_000 });
    shards[0].interest.subscribe(slow.session, ['noise']);
    run();
    // Its socket takes nothing, and there is room for 40 KiB before something is shed.
    slow.taker.unsent = 64 * 1024;
    slow.session.pressure.shed();
    for (let i = 0; i < 2; i++) publish(shards[0], publisher.session, 'noise', 2, 42 * 1024);
    run();
    for (const [id, size] of [
      ['large', 50_000],
      ['less', 30_000],
    ] as const)
      assured(0, publisher.session, 'work.x', id, size);
    run();
    slow.taker.unsent = 0;
    slow.session.touch();
    run();
    shards[0].mailboxes.check();
    run();
    assert.deepEqual(
      slow.taker.got.map(({ text }) => text.trim()),
      ['large', 'less'],
    );
  });

  it('take a message also when hundreds on each shard are to get it, and say so when one of the shards is gone', async () => {
    const publisher = open(0, 'p');
    const { session } = open(0, 'c');
    const count = 800;
    let handles: number[] = [];
    Promise.all(
      Array.from({ length: count }, (_, n) =>
        shards[0].consuming.consume(session, spec(session, `many${n}`, 'work.*')),
      ),
    ).then((results) => {
      handles = results;
    });
    await until(() => handles.length === count);
    for (const home of [0, 1]) assert.ok(handles.filter((mailbox) => mailbox >>> 24 === home).length > 300);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual(publisher.taker.stored, [`a=${count}`]);
    assured(0, publisher.session, 'work.x', 'b');
    wires.readers[1] = null;
    shards[0].peerDown(1, 1);
    run();
    wires.full = true;
    assured(0, publisher.session, 'work.x', 'c');
    run();
    assert.deepEqual(publisher.taker.refused, ['b: MAILBOX_UNAVAILABLE', 'c: MAILBOX_UNAVAILABLE']);
  });

  it('have no consumer that was told that there is no answer', async () => {
    const publisher = open(0, 'p');
    const other = open(1, 'o');
    const { group, mailbox } = await groupOn(1, 1, other.session, { lease: 60_000 });
    const { session, taker } = open(0, 'c');
    mock.timers.enable({ apis: ['setTimeout'] });
    let consuming: Promise<number>;
    try {
      consuming = shards[0].consuming.consume(session, spec(session, group, 'work.*', { lease: 60_000 }));
      mock.timers.tick(10_000);
    } finally {
      mock.timers.reset();
    }
    await assert.rejects(consuming, { code: 'MAILBOX_UNAVAILABLE' });
    const { consumers } = shards[1].table.find(mailbox)!.home!;
    run();
    assert.equal(consumers.size, 2, 'the shard has woken up');
    await until(() => consumers.size === 1);
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    run();
    assert.deepEqual([taker.texts, other.taker.texts], [[], ['a', 'b', 'c']]);
  });

  it('are not kept busy by a frame of acks for messages without end', async () => {
    const { session } = open(0, 'c');
    const { mailbox } = await groupOn(0, 0, session);
    const runs = new Uint8Array(17 * ACK_SIZE);
    for (let n = 0; n < 17; n++) writeAck(runs, n * ACK_SIZE, mailbox, 1, 0xffff_ffff);
    shards[0].consuming.ack(session, runs, 0, 16 * ACK_SIZE);
    assert.throws(() => shards[0].consuming.ack(session, runs, 0, runs.length), { code: 'BAD_CONTROL' });
  });

  it('pass over acks of what a session does not hold', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const other = open(1, 'o');
    const { mailbox } = await groupOn(0, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    const { offset } = consumer.taker.got[0];
    ack(1, other.session, mailbox, offset);
    ack(0, consumer.session, mailbox, offset + 1, 0xffff_ffff);
    ack(0, consumer.session, 0xffff_ffff, offset);
    ack(0, consumer.session, mailbox, offset);
    ack(0, consumer.session, mailbox, offset);
    assert.equal(consumer.taker.got.length, 1);
  });

  for (const home of [0, 1]) {
    it(`on shard ${home} under pressure tell assured publishers, hold live ones, and in an emergency take nothing from those`, async () => {
      const [teller, live] = [open(0, 'p'), open(0, 'l')];
      const consumer = open(1, 'c');
      const limits = { maxMessages: 20, lease: 60_000 };
      const { group, mailbox } = await groupOn(home, 1, consumer.session, limits);
      const name = `group:${group}:work.*`;
      const { counters } = shards[home].exchange;
      const fill = (to: number): void => {
        for (let i = teller.taker.stored.length; i < to; i++) {
          assured(0, teller.session, 'work.x', `m${i}`);
          run();
        }
      };
      const liven = (): void => {
        publish(shards[0], live.session, 'work.x', 2);
        run();
      };
      const look = (): number[] => {
        shards[home].mailboxes.check();
        return [counters[C.mailboxesPressed], counters[C.mailboxesEmergency], counters[C.mailboxMessages]];
      };
      fill(15);
      liven();
      assert.deepEqual(look(), [1, 0, 16], '80 % full');
      assert.deepEqual([teller.taker.changes, live.session.holds], [[], 0], 'nobody has published since');
      fill(16);
      liven();
      assert.deepEqual([teller.taker.changes, live.session.holds], [[`${name} true`], 1]);
      assert.equal(live.taker.changes.length, 0);
      liven();
      assert.deepEqual(look(), [0, 1, 19], '95 % full');
      const dropped = counters[C.shedsCritical + 2];
      liven();
      assert.equal(counters[C.shedsCritical + 2], dropped + 1, 'live ones are dropped, and counted');
      fill(17);
      assured(0, teller.session, 'work.x', 'too much');
      run();
      assert.deepEqual(teller.taker.refused, ['too much: MAILBOX_FULL']);
      let acked = 0;
      const done = (messages: number): void => {
        for (; messages > 0; messages--)
          ack(1, consumer.session, mailbox, consumer.taker.got[acked++].offset);
      };
      done(4);
      liven();
      assert.deepEqual(look(), [0, 1, 16], 'until it is below 80 %');
      done(1);
      assert.deepEqual(look(), [1, 0, 15]);
      liven();
      assert.deepEqual(look(), [1, 0, 16]);
      done(3);
      assert.deepEqual([teller.taker.changes.length, live.session.holds], [1, 1]);
      done(1);
      assert.deepEqual(look(), [0, 0, 12], '60 % full');
      assert.deepEqual(teller.taker.changes, [`${name} true`, `${name} false`]);
      assert.equal(live.session.holds, 0);
    });

    it(`on shard ${home} let live publishers go when their consumers do nothing, or their shard is gone`, async () => {
      const [teller, live] = [open(0, 'p'), open(0, 'l')];
      const consumer = open(0, 'c');
      await groupOn(home, 0, consumer.session, { maxMessages: 20, lease: 60_000 });
      const press = (): void => {
        for (let i = 0; i < 16; i++) publish(shards[0], live.session, 'work.x', 2);
        run();
        publish(shards[0], live.session, 'work.x', 2);
        run();
      };
      press();
      assert.equal(live.session.holds, 1);
      shards[home].exchange.now += 5000;
      shards[home].mailboxes.check();
      run();
      assert.equal(live.session.holds, 0);
      publish(shards[0], live.session, 'work.x', 2);
      assured(0, teller.session, 'work.x', 'a');
      run();
      assert.equal(live.session.holds, 0, 'and does not hold them again');
      assert.equal(teller.taker.changes.length, 1);
      if (home === 0) return;
      wires.readers[1] = null;
      shards[0].peerDown(1, 1);
      assert.equal(teller.taker.changes.length, 2, 'of a shard that is gone there is nothing to wait for');
    });

    it(`on shard ${home} under pressure hold nobody whose connection is gone, and forget whom they told`, async () => {
      const [teller, live] = [open(0, 'p'), open(0, 'l')];
      const consumer = open(0, 'c');
      const { mailbox } = await groupOn(home, 0, consumer.session, { maxMessages: 20, lease: 60_000 });
      for (let i = 0; i < 17; i++) {
        publish(shards[0], live.session, 'work.x', 2);
        run();
      }
      assured(0, teller.session, 'work.x', 'a');
      run();
      const pressed = shards[0].table.find(mailbox)!.pressed!;
      assert.deepEqual([live.session.holds, pressed.held.size, pressed.told.size], [1, 1, 1]);
      shards[0].sessions.lost(live.session, true);
      shards[0].sessions.end(teller.session, null, '');
      assert.deepEqual([live.session.holds, pressed.held.size, pressed.told.size], [0, 0, 0]);
      shards[0].sessions.attach(live.session, new Taker());
      publish(shards[0], live.session, 'work.x', 2);
      run();
      assert.deepEqual([live.session.holds, pressed.held.size], [1, 1], 'it came back, and goes on');
    });

    it(`on shard ${home} get back what finds its way full, and give it to another consumer, or when there is room`, async () => {
      const publisher = open(0, 'p');
      const [slow, quick] = [open(1, 'slow'), open(1, 'quick')];
      const { group, mailbox } = await groupOn(home, 1, slow.session, { lease: 60_000 });
      shards[1].interest.subscribe(slow.session, ['noise']);
      run();
      // Its socket takes nothing, and what waits for it is to be shed.
      slow.taker.unsent = 64 * 1024;
      slow.session.pressure.shed();
      for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id, 0, {}, 4);
      run();
      assert.equal(slow.session.lanes.bytes > 0, true, 'they wait in its backlog');
      // Up to the brim.
      for (const size of [31 * 1024, 1024, 1])
        for (let i = 0; i < 40; i++) publish(shards[0], publisher.session, 'noise', 0, size);
      run();
      assert.equal(shards[home].exchange.counters[C.mailboxReturned], 3, 'shed for what is more urgent');
      await consume(1, quick.session, group, 'work.*', { lease: 60_000 });
      run();
      assert.deepEqual(
        quick.taker.got.map(({ text, attempt, repeated }) => [text, attempt, repeated]),
        ['a', 'b', 'c'].map((text) => [text, 1, false]),
      );
      shards[1].consuming.leave(quick.session, mailbox);
      run();
      shards[home].mailboxes.check();
      run();
      assert.equal(shards[home].exchange.counters[C.mailboxReturned] > 3, true, 'there was no room at all');
      // Now its socket takes everything.
      slow.taker.unsent = 0;
      slow.session.touch();
      run();
      shards[home].mailboxes.check();
      run();
      assert.deepEqual(
        slow.taker.got.map(({ text, attempt }) => [text, attempt]),
        ['a', 'b', 'c'].map((text) => [text, 1]),
      );
    });
  }
});
