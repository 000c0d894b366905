/**
 * A million and more damaged frames against a node of two shards, from several connections at once, while bystanders on both
 * shards exchange numbered messages. FUZZ_SEED repeats a run: each connection sends the same bytes again, but for the
 * sender number and topic ids that the broker gives it. FUZZ_FRAMES: how many damaged ones.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { isErrorCode } from '../../lib/errors.js';
import { avroControl } from '../../lib/wire/avro.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { Encoding, FrameType } from '../../lib/wire/frame.js';
import { controlFrame } from '../../lib/wire/writer.js';
import type { RunningNode } from '../../shards/primary.js';
import { closeAgents, join, metric, nameOn, startBroker, until } from '../integration/broker/node.js';
import { Bystanders } from '../integration/bystanders.js';
import { Changes } from '../integration/changes.js';
import { jsonMessage } from './json-mutations.js';
import { FrameMaker, helloFrame, type Origin } from './mutations.js';
import { Random } from './random.js';

const FRAMES = Number(process.env.FUZZ_FRAMES ?? 1_000_000);
const SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 0x8000_0000));
/** What one shard may grow by: full tables, buffers for each connection, and garbage that is not collected yet. */
const MEMORY_GROWTH = 192 * 1024 * 1024;
const MAX_PAYLOAD = 64 * 1024;
const BINARY_CONNECTIONS = 6;
const JSON_CONNECTIONS = 2;
const FRAMES_PER_BATCH = 120;
/** One batch in so many has a frame that should end the connection. */
const FATAL_EVERY = 8;
/** Batches that are under way before the broker must have answered. */
const WINDOW = 4;
/** JSON messages per batch of frames of the same time. */
const JSON_PER_TURN = 40;
const ANNOUNCED = 64;

class Tally {
  /** Frames that the broker looked at, and those of them that were damaged. */
  frames = 0;
  damaged = 0;
  jsonMessages = 0;
  connections = 0;
  messages = 0;
  readonly codes = new Map<string, number>();
  readonly surprises: string[] = [];

  count(code: string): void {
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
    if (!isErrorCode(code)) this.surprises.push(`unknown code ${code}`);
  }
}

/** A connection that has said hello, of either kind. */
class Fuzzer implements Origin {
  readonly ws: WebSocket;
  readonly topicIds: number[] = [];
  readonly #tally: Tally;
  readonly #changes = new Changes();
  readonly #reader = new BatchReader();
  sender = 0;
  welcome = false;
  pongs = 0;
  closed: string | null = null;

  private constructor(url: string, tally: Tally) {
    this.#tally = tally;
    tally.connections++;
    this.ws = new WebSocket(url, 'agent-protocol-v1', { perMessageDeflate: false });
    this.ws.on('message', (data: Buffer, binary) => {
      if (binary) this.#readFrames(data);
      else this.#readText(data);
      this.#changes.happened();
    });
    this.ws.on('error', () => {});
    this.ws.on('close', (code, reason) => {
      this.closed = reason.toString() || String(code);
      this.#changes.happened();
    });
  }

  static async join(node: RunningNode, agentId: string, binary: boolean, tally: Tally): Promise<Fuzzer> {
    const fuzzer = new Fuzzer(`${node.url}/?agentId=${agentId}`, tally);
    await once(fuzzer.ws, 'open');
    fuzzer.ws.send(binary ? helloFrame(agentId) : JSON.stringify({ op: 'hello', agentId }));
    await fuzzer.until('a welcome', () => fuzzer.welcome);
    return fuzzer;
  }

  /** Fails at the close. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const why = (): string => `closed: ${this.closed}`;
    await this.#changes.until(what, () => condition() || this.closed !== null, why);
    assert.ok(condition(), `${what}: ${why()}`);
  }

  async end(): Promise<string> {
    await this.until('the close', () => this.closed !== null);
    return this.closed!;
  }

  #readFrames(data: Buffer): void {
    const reader = this.#reader;
    reader.open(data, 0, data.length, data.length);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      assert.equal(step, Step.frame, `the broker sent ${reader.error}`);
      switch (reader.type) {
        case FrameType.error:
          this.#tally.count(avroControl.decode('error', data, reader.payloadStart, reader.end).code);
          break;
        case FrameType.publish:
          this.#tally.messages++;
          break;
        case FrameType.pong:
          if (reader.sequence === SETTLE) this.pongs++;
          break;
        case FrameType.topic:
          if (this.topicIds.length < ANNOUNCED) this.topicIds.push(reader.topicId);
          break;
        case FrameType.welcome:
          this.sender = avroControl.decode('welcome', data, reader.payloadStart, reader.end).sender;
          this.welcome = true;
          break;
      }
    }
  }

  #readText(data: Buffer): void {
    const answer = JSON.parse(data.toString()) as { op: string; code: string; ref?: number };
    if (answer.op === 'error') this.#tally.count(answer.code);
    else if (answer.op === 'message') this.#tally.messages++;
    else if (answer.op === 'welcome') this.welcome = true;
    else if (answer.op === 'pong' && answer.ref === SETTLE) this.pongs++;
  }
}

/** A reference that no mutation has. */
const SETTLE = 0xfedc_ba98;
const settleFrame = controlFrame(FrameType.ping, SETTLE, Encoding.bytes);
const settleText = JSON.stringify({ op: 'ping', ref: SETTLE });

/** How many frames of the batch the broker looks at, and the code that ends the connection, if one does. */
function outcome(batch: Uint8Array, sender: number): { frames: number; end: string | null } {
  const reader = new BatchReader();
  reader.open(batch, 0, batch.length, MAX_PAYLOAD);
  for (let frames = 0; ; ) {
    const step = reader.next();
    if (step === Step.end) return { frames, end: null };
    frames++;
    if (step === Step.broken) return { frames, end: reader.error };
    if (step === Step.frame && reader.type === FrameType.publish && reader.sender !== sender)
      return { frames, end: 'FORGED_SENDER' };
  }
}

async function fuzzFrames(node: RunningNode, index: number, tally: Tally): Promise<void> {
  const random = new Random(SEED, index);
  const maker = new FrameMaker(random);
  const agentId = nameOn(index % node.shards, `fuzz-${index}`, node.shards);
  let fuzzer = await Fuzzer.join(node, agentId, true, tally);
  let asked = 0;
  while (tally.damaged < FRAMES) {
    const frames: Uint8Array[] = [];
    const damages: boolean[] = [];
    let size = 0;
    const count = 1 + random.below(2 * FRAMES_PER_BATCH);
    const fatalAt = random.once(FATAL_EVERY) ? random.below(count) : -1;
    for (let i = 0; i < count && size < MAX_PAYLOAD - 4096; i++) {
      const frame = i === fatalAt ? maker.fatal(fuzzer) : maker.tolerable(fuzzer);
      frames.push(frame);
      damages.push(maker.damaged);
      size += frame.length;
    }
    const batch = Buffer.concat(frames);
    const expected = outcome(batch, fuzzer.sender);
    fuzzer.ws.send(batch);
    tally.frames += expected.frames;
    // What stands behind the end of a connection is not looked at, and does not count.
    for (let i = 0; i < Math.min(expected.frames, damages.length); i++) if (damages[i]) tally.damaged++;
    if (expected.end !== null) {
      const reason = await fuzzer.end();
      if (reason !== expected.end) tally.surprises.push(`closed with ${reason} instead of ${expected.end}`);
      fuzzer = await Fuzzer.join(node, agentId, true, tally);
      asked = 0;
      continue;
    }
    fuzzer.ws.send(settleFrame);
    asked++;
    await fuzzer.until('the answers', () => asked - fuzzer.pongs < WINDOW);
  }
  await fuzzer.until('the last answer', () => asked === fuzzer.pongs);
  fuzzer.ws.close(1000);
  await fuzzer.end();
}

async function fuzzJson(node: RunningNode, index: number, tally: Tally): Promise<void> {
  const random = new Random(SEED, index);
  const agentId = nameOn(index % node.shards, `fuzz-json-${index}`, node.shards);
  let fuzzer = await Fuzzer.join(node, agentId, false, tally);
  let asked = 0;
  while (tally.damaged < FRAMES) {
    for (let i = 0; i < JSON_PER_TURN; i++) fuzzer.ws.send(jsonMessage(random), { binary: false });
    fuzzer.ws.send(settleText);
    tally.jsonMessages += JSON_PER_TURN;
    asked++;
    try {
      await fuzzer.until('the answers', () => asked === fuzzer.pongs);
    } catch (error) {
      // What is not UTF-8 ends the connection: 1007, by RFC 6455.
      if (fuzzer.closed !== '1007') throw error;
      fuzzer = await Fuzzer.join(node, agentId, false, tally);
      asked = 0;
    }
  }
  fuzzer.ws.close(1000);
  await fuzzer.end();
}

describe('fuzzing the doors', function () {
  this.timeout(840_000);
  let node: RunningNode;
  let bystanders: Bystanders;

  before(async () => {
    // Tables are small, so that they are full within the run; a fuzzer that is replaced is a fuzzer lost.
    node = await startBroker({ maxTopics: 4096, resumeWindow: 0 });
    bystanders = await Bystanders.start(node);
  });
  after(async () => {
    await closeAgents();
    try {
      await bystanders?.stop();
    } finally {
      await node?.stop();
    }
  });

  const residents = (): Promise<number[]> =>
    Promise.all(
      Array.from({ length: node.shards }, (_, slot) =>
        metric(node, 'flowbus_resident_memory_bytes', `worker="${slot}"`),
      ),
    );

  it(`survives ${FRAMES.toLocaleString('en')} damaged frames (FUZZ_SEED=${SEED})`, async () => {
    const tally = new Tally();
    const before = await residents();
    let most = before;
    const watch = setInterval(async () => {
      const now = await residents();
      most = most.map((bytes, slot) => Math.max(bytes, now[slot]));
    }, 1000);
    const began = performance.now();
    const fuzzers = [];
    for (let i = 0; i < BINARY_CONNECTIONS; i++) fuzzers.push(fuzzFrames(node, i, tally));
    for (let i = 0; i < JSON_CONNECTIONS; i++) fuzzers.push(fuzzJson(node, BINARY_CONNECTIONS + i, tally));
    try {
      await Promise.all(fuzzers);
    } finally {
      clearInterval(watch);
    }
    const seconds = (performance.now() - began) / 1000;
    await bystanders.unharmed();
    const grown = most.map((bytes, slot) => bytes - before[slot]);

    const codes = [...tally.codes].sort((a, b) => b[1] - a[1]).map(([code, times]) => `${code} ${times}`);
    console.log(
      [
        `      seed ${SEED}: ${tally.frames} frames, ${tally.damaged} of them damaged, and ${tally.jsonMessages} JSON messages in ${seconds.toFixed(1)} s`,
        `      ${tally.connections} connections, ${tally.messages} messages delivered to the fuzzers`,
        `      bystanders sent ${bystanders.sent} messages, all of which arrived`,
        `      memory of the shards grew by at most ${grown.map((bytes) => `${Math.round(bytes / 1048576)} MiB`).join(' and ')}`,
        `      errors: ${codes.join(', ')}`,
      ].join('\n'),
    );
    assert.ok(tally.damaged >= FRAMES);
    assert.deepEqual(tally.surprises.slice(0, 20), []);
    for (const bytes of grown) assert.ok(bytes < MEMORY_GROWTH, `a shard grew by ${bytes} bytes`);
  });

  it('serves a new agent as if nothing had been', async () => {
    const callee = await join(node.url, 'callee');
    const caller = await join(node.url, 'caller');
    callee.on('message', (message) => `${message.text()}?`);
    assert.equal((await caller.request('callee', 'still there')).text(), 'still there?');
    const online = async (): Promise<number> => (await caller.agents({ type: 'fuzz', online: true })).length;
    await until('the fuzzers are gone', async () => (await online()) === 0);
  });
});
