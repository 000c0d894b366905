/** Two shards with journals, whose links are in the hands of the test, and what agents of theirs do and see. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrokerConfig } from '../../../lib/config/index.js';
import type { LetterFilter } from '../../../lib/dead-letter.js';
import type { Chunk } from '../../../lib/queues/chunks.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import { checksumSeed, sealFrame } from '../../../lib/wire/checksum.js';
import type { BreakerChange, MailboxPressure } from '../../../lib/wire/control.js';
import { ACK_SIZE, DeliveryReader, nackPayload, writeAck } from '../../../lib/wire/delivery.js';
import { Encoding, Flag, FrameType, OFFSET_FLAGS } from '../../../lib/wire/frame.js';
import { readStored } from '../../../lib/wire/stored.js';
import { readUtf8, utf8 } from '../../../lib/wire/text.js';
import { FrameWriter } from '../../../lib/wire/writer.js';
import type { ConsumeSpec } from '../../../shards/intake.js';
import { journalDir } from '../../../shards/journal/directory.js';
import type { JournalSettings } from '../../../shards/journal/journal.js';
import type { Refusal } from '../../../shards/publishing.js';
import type { Session } from '../../../shards/session.js';
import type { Shard } from '../../../shards/shard.js';
import { Counter, HELLO, makeBlock, makeShard, Wires } from './wires.js';

interface Got {
  text: string;
  mailbox: number;
  offset: number;
  attempt: number;
  repeated: boolean;
}

/** Takes the frames of a session apart. */
export class Taker extends Counter {
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

/** An agent: its session, and what its connection was sent. */
export interface Guest {
  session: Session;
  taker: Taker;
}

export const EVERY: LetterFilter = { mailbox: null, kind: null, pattern: null, since: null };

/** For the tests of one `describe`: each of them has shards of its own, with empty journals. */
export function twoShards() {
  let dataDir = '';
  const wires = new Wires();
  const shards: Shard[] = [];
  /** Counters and ledgers, which outlive a process of a shard. */
  const blocks = [makeBlock(), makeBlock()];
  /** What the shards would write into their logs. */
  const logged: string[] = [];
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'flowbus-homes-'));
    logged.length = 0;
    for (const slot of [0, 1]) blocks[slot] = makeBlock();
    await restart();
  });
  afterEach(() => {
    closeAll();
    rmSync(dataDir, { recursive: true });
  });

  function closeAll(): void {
    for (const shard of shards.splice(0)) shard.mailboxes.close();
  }

  /** A process of shard `slot`, on what the last one left in its journal. */
  function begin(
    slot: number,
    incarnation: number,
    journal: Partial<JournalSettings> = {},
    config: Partial<BrokerConfig> = {},
  ): Shard {
    const settings = { lease: 100, retryBase: 1, retryCap: 1, backlog: 128 * 1024, ...config };
    const shard = makeShard(wires, slot, incarnation, settings, blocks[slot], (agentId, { state }) =>
      logged.push(`${slot}: ${agentId} ${state}`),
    );
    const dir = journalDir(dataDir, slot);
    shard.recover({ dir, fsync: 'never', maxBytes: 1_000_000, ...journal }, []);
    return shard;
  }

  /** The node begins anew, on the journals that the last one left. */
  async function restart(
    journal: Partial<JournalSettings> = {},
    config: Partial<BrokerConfig> = {},
  ): Promise<void> {
    closeAll();
    wires.cut();
    shards.push(begin(0, 1, journal, config), begin(1, 1, journal, config));
    await Promise.all(shards.map((shard) => shard.start([])));
    run();
  }

  /** The process of shard `slot` ends, and the other one hears of it. */
  function lose(slot: number): void {
    wires.readers[slot] = null;
    shards[1 - slot].peerDown(slot, 1);
  }

  /** Another one takes its place. */
  async function revive(slot: number): Promise<void> {
    shards[slot].mailboxes.close();
    shards[slot] = begin(slot, 2);
    await shards[slot].start([]);
    run();
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

  function open(slot: number, agentId: string, taker = new Taker()): Guest {
    const { session } = shards[slot].sessions.open({ ...HELLO, agentId });
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

  /** A group whose home is on shard `home`, by a name that the ring puts there. */
  async function groupOn(
    home: number,
    slot: number,
    session: Session,
    limits: Partial<ConsumeSpec> = {},
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

  function assured(
    slot: number,
    session: Session,
    topic: string,
    id: string,
    size = 0,
    extra = {},
    lane = 2,
    retain = false,
  ): void {
    const frame = new FrameWriter(65_536).publish({
      topic,
      retain,
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

  function nack(slot: number, session: Session, mailbox: number, offset: number, reason: string): void {
    const payload = nackPayload(mailbox, offset, reason);
    shards[slot].consuming.nack(session, payload, 0, payload.length);
    run();
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

  return {
    /** Renewed for each test. */
    get dataDir(): string {
      return dataDir;
    },
    wires,
    blocks,
    shards,
    logged,
    begin,
    restart,
    closeAll,
    lose,
    revive,
    run,
    until,
    answered,
    open,
    spec,
    consume,
    groupOn,
    assured,
    ack,
    nack,
    kill,
  };
}
