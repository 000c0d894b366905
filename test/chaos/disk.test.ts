/** A full disk, which is real: a small tmpfs. Needs root, and skips itself without. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Agent } from '../../lib/client/index.js';
import { FlowbusError } from '../../lib/errors.js';
import { closeAgents, join, nameOn, until } from '../integration/broker/node.js';
import { Broker } from './broker.js';
import { clock, History, idOf } from './history.js';

/** Of it each shard sets 2 MiB aside: one for the journal of its mailboxes, one for its dead letters. */
const DISK = 8 * 1024 * 1024;
const BODY = 'x'.repeat(16 * 1024);
/** How long it is filled and emptied; once at least. */
const SECONDS = Number(process.env.FLOWBUS_CHAOS_SECONDS ?? 0);
const RECONNECT = { minDelay: 10, maxDelay: 100 };

/** Publishes, each until it is acked or refused for want of room. */
class Filler {
  readonly #agent: Agent;
  readonly #history: History;
  #last = 0;

  constructor(agent: Agent, history: History) {
    this.#agent = agent;
    this.#history = history;
  }

  /** False: refused with JOURNAL_FULL. What happens while shards are gone is no answer, and repeated. */
  async publish(): Promise<boolean> {
    const id = idOf(this.#agent.agentId, 'normal', 'own', ++this.#last);
    for (;;) {
      try {
        await this.#agent.publish('disk.x', `${id} ${BODY}`, { assured: true, messageId: id, timeout: 2000 });
        this.#history.acked.add(id);
        return true;
      } catch (error) {
        assert.ok(error instanceof FlowbusError);
        if (error.code === 'JOURNAL_FULL') return false;
        assert.ok(error.retriable, error.code);
        await pause(10);
      }
    }
  }

  /** Until nothing more goes in; returns how many did. */
  async fill(): Promise<number> {
    for (let n = 0; ; n++) if (!(await this.publish())) return n;
  }
}

describe('a full disk', function () {
  this.timeout(SECONDS * 1000 + 120_000);
  let dataDir: string;
  let broker: Broker;
  let history: History;

  before(function () {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-disk-'));
    const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK}`, 'tmpfs', dataDir]);
    if (status === 0) return;
    rmdirSync(dataDir);
    console.log('      a small disk cannot be mounted here: skipped');
    this.skip();
  });
  beforeEach(async () => {
    history = new History();
    mkdirSync(joinPath(dataDir, 'node'));
    broker = await Broker.start({ dataDir: joinPath(dataDir, 'node') });
  });
  afterEach(async () => {
    await closeAgents();
    await broker.stop();
    for (const name of ['node', 'ballast']) rmSync(joinPath(dataDir, name), { recursive: true, force: true });
  });
  after(() => {
    spawnSync('umount', [dataDir]);
    rmdirSync(dataDir);
  });

  async function member(): Promise<Agent> {
    const agent = await join(broker.url, { agentId: nameOn(0, 'member'), reconnect: RECONNECT });
    agent.on('error', () => {}).on('disconnect', () => {});
    await agent.subscribe(
      'disk.*',
      (message) => {
        const id = message.text().slice(0, message.text().indexOf(' '));
        history.receive({ id, redelivered: message.redelivered, at: clock(), by: process.pid });
      },
      { group: 'crew', prefetch: 8 },
    );
    return agent;
  }

  async function filler(): Promise<Filler> {
    const agent = await join(broker.url, { agentId: nameOn(1, 'filler'), reconnect: RECONNECT });
    agent.on('error', () => {}).on('disconnect', () => {});
    return new Filler(agent, history);
  }

  async function received(): Promise<void> {
    await until(
      () => `all of ${history.acked.size}: ${history.missing.length} missing`,
      () => history.missing.length === 0,
      30_000,
    );
  }

  it('is refused with JOURNAL_FULL and crashes nothing; what was acked survives kill -9, and there is room again when space returns', async () => {
    const away = await member();
    await away.close();
    writeFileSync(joinPath(dataDir, 'ballast'), Buffer.alloc(3 * 1024 * 1024));
    const publisher = await filler();
    const pids = await broker.pids();
    assert.ok((await publisher.fill()) > 10);
    for (let i = 0; i < 20; i++) assert.equal(await publisher.publish(), false);
    assert.deepEqual(await broker.pids(), pids, 'no shard has ended');
    // Live messages need no disk.
    const [near, far] = [await join(broker.url, nameOn(0, 'near')), await join(broker.url, nameOn(1, 'far'))];
    const got: string[] = [];
    await far.subscribe('live.*', (message) => got.push(message.text()));
    near.publish('live.x', 'still here');
    await until('a live message', () => got.length === 1);

    for (const slot of [0, 1]) await broker.killShard(slot);
    assert.equal(await publisher.publish(), false, 'after kill -9 of the shards');
    await broker.kill();
    await broker.begin();
    rmSync(joinPath(dataDir, 'ballast'));
    await until('room', () => publisher.publish());
    assert.ok((await publisher.fill()) > 10);
    await member();
    await received();
    history.check('none');
  });

  it('has room again when consumers have taken what fills it, which is kept out also after kill -9', async () => {
    const publisher = await filler();
    const end = performance.now() + SECONDS * 1000;
    do {
      const away = await member();
      await away.close();
      const first = await publisher.fill();
      assert.ok(first > 100, `${first} messages fill the disk`);
      const consumer = await member();
      await received();
      // Nobody has made room but the consumer.
      await until('room', () => publisher.publish());
      const second = await publisher.fill();
      await received();
      await consumer.close();
      history.check('one-consumer');
      const before = history.receipts.length;
      await broker.kill();
      await broker.begin();
      const probe = await member();
      await until('room', () => publisher.publish());
      await received();
      // What was acked and journaled does not come again; the acks of the last turn may have found no room.
      const again = history.receipts.length - before - 1;
      assert.ok(again <= 16, `${again} of ${first + second} came again`);
      await probe.close();
    } while (performance.now() < end);
  });
});
