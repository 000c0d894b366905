import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import cluster from 'node:cluster';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type LinkReader, type Links, MAX_RECORD, RecordKind } from '../../lib/links.js';
import {
  type AttachedSegment,
  attachSegment,
  createSegment,
  removeSegment,
} from '../../lib/memory/segment.js';
import { ASLEEP, AWAKE, Doorbell, Ringer } from '../../shards/links/doorbell.js';
import type { GaugedLinks } from '../../shards/links/gauged-links.js';
import { openLinks } from '../../shards/links/open-links.js';
import { LinkPeer } from './link-peer.js';
import type { Answer, Command, ProgramOptions } from './link-program.js';

const PROGRAM = fileURLToPath(new URL('./link-program.js', import.meta.url));
const WORKERS = 3;
const SIZES = {
  workers: WORKERS,
  metricsBytes: 0,
  urgentBytes: 256 * 1024,
  bulkBytes: 1024 * 1024,
  historyBytes: 0,
  retainedBytes: 0,
};

async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limit = 10_000,
): Promise<void> {
  const end = performance.now() + limit;
  while (!(await condition())) {
    if (performance.now() > end) assert.fail(`not within ${limit} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A worker in another process. */
class Program {
  readonly process: ChildProcess;

  constructor(child: ChildProcess) {
    this.process = child;
  }

  send(command: Command): void {
    this.process.send(command);
  }

  async ask(command: Command): Promise<Answer> {
    this.send(command);
    const [answer] = (await once(this.process, 'message')) as [Answer];
    return answer;
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exit = once(this.process, 'exit');
    this.process.kill(signal);
    await exit;
  }
}

/** What the workers of a node share, and all that a test opens. */
class Ground {
  readonly kind: Links['kind'];
  readonly socketsDir: string;
  readonly segment: AttachedSegment | undefined;
  readonly #opened: Links[] = [];
  readonly #programs: Program[] = [];

  static async make(kind: Links['kind']): Promise<Ground> {
    const socketsDir = mkdtempSync(join(tmpdir(), 'fb-'));
    if (kind === 'unix-socket') return new Ground(kind, socketsDir, undefined);
    const path = createSegment({ instance: `test-${process.pid}-${Date.now().toString(36)}`, sizes: SIZES });
    return new Ground(kind, socketsDir, await attachSegment(path));
  }

  constructor(kind: Links['kind'], socketsDir: string, segment: AttachedSegment | undefined) {
    this.kind = kind;
    this.socketsDir = socketsDir;
    this.segment = segment;
  }

  async open(slot: number): Promise<GaugedLinks> {
    const { kind, socketsDir, segment } = this;
    const links = await openLinks({ kind, slot, workers: WORKERS, socketsDir, segment });
    this.#opened.push(links);
    return links;
  }

  async peer(slot: number): Promise<LinkPeer> {
    const peer = new LinkPeer(await this.open(slot));
    await peer.links.start(peer);
    return peer;
  }

  program(slot: number): Promise<Program> {
    return this.#ready(fork(PROGRAM, [this.#options(slot)]));
  }

  clusterProgram(slot: number): Promise<Program> {
    cluster.setupPrimary({ exec: PROGRAM, args: [this.#options(slot)] });
    return this.#ready(cluster.fork().process);
  }

  async end(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.end()));
    await Promise.all(this.#opened.map((links) => links.close()));
    rmSync(this.socketsDir, { recursive: true, force: true });
    if (this.segment !== undefined) removeSegment(this.segment.path);
  }

  #options(slot: number): string {
    const { kind, socketsDir, segment } = this;
    const options: ProgramOptions = {
      kind,
      slot,
      workers: WORKERS,
      socketsDir,
      segmentPath: segment?.path ?? null,
    };
    return JSON.stringify(options);
  }

  async #ready(child: ChildProcess): Promise<Program> {
    const program = new Program(child);
    this.#programs.push(program);
    await once(child, 'message');
    return program;
  }
}

interface Got {
  from: number;
  urgent: boolean;
  kind: RecordKind;
  stamp: number;
  bytes: Buffer;
}

/** Keeps all it reads. */
class Keeper implements LinkReader {
  readonly got: Got[] = [];
  batchEnds = 0;

  onRecord(
    from: number,
    urgent: boolean,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.got.push({ from, urgent, kind, stamp, bytes: Buffer.from(src.slice(start, end)) });
  }

  onBatchEnd(): void {
    this.batchEnds++;
  }
}

for (const kind of ['shared-memory', 'unix-socket'] as const) {
  describe(`links over ${kind}`, function () {
    this.timeout(30_000);
    let ground: Ground;

    beforeEach(async () => {
      ground = await Ground.make(kind);
    });

    afterEach(() => ground.end());

    it('pass records whole, in order, with kind and stamp, on two paths', async () => {
      const [a, b] = [await ground.open(0), await ground.open(1)];
      assert.equal(a.kind, kind);
      const keeper = new Keeper();
      await a.start(new Keeper());
      await b.start(keeper);
      const src = Buffer.from('--urgent--bulk--');
      const large = Buffer.alloc(MAX_RECORD, 'large');
      assert.equal(a.to(1), a.to(1));
      assert.ok(a.to(1).write(true, RecordKind.reset, 0, src, 2, 8));
      assert.ok(a.to(1).write(false, RecordKind.control, 0xffffffff, src, 10, 14));
      assert.ok(a.to(1).write(false, RecordKind.frames, 1, large, 0, large.length));
      assert.ok(a.to(1).write(false, RecordKind.frames, 2, src, 0, 0));
      a.to(1).flush();
      await until('four records', () => keeper.got.length === 4);
      const urgent = keeper.got.filter((got) => got.urgent);
      assert.deepEqual(urgent, [
        { from: 0, urgent: true, kind: RecordKind.reset, stamp: 0, bytes: Buffer.from('urgent') },
      ]);
      const bulk = keeper.got.filter((got) => !got.urgent);
      assert.deepEqual(
        bulk.map((got) => [got.from, got.kind, got.stamp, got.bytes.length]),
        [
          [0, RecordKind.control, 0xffffffff, 4],
          [0, RecordKind.frames, 1, MAX_RECORD],
          [0, RecordKind.frames, 2, 0],
        ],
      );
      assert.ok(bulk[1].bytes.equals(large));
      await until('the end of the batch', () => keeper.batchEnds > 0);
    });

    it('take no record past the bound, and have no link to oneself', async () => {
      const links = await ground.open(0);
      const large = new Uint8Array(MAX_RECORD + 1);
      assert.throws(() => links.to(1).write(true, RecordKind.frames, 0, large, 0, large.length), RangeError);
      assert.throws(() => links.to(1).write(true, RecordKind.frames, 0, large, 4, 3), RangeError);
      assert.throws(() => links.to(0), RangeError);
      assert.throws(() => links.to(WORKERS), RangeError);
    });

    it('keep what is written before the peer begins to read', async () => {
      const a = await ground.open(0);
      a.to(1).write(false, RecordKind.frames, 0, Buffer.from('early'), 0, 5);
      a.to(1).flush();
      const keeper = new Keeper();
      await (await ground.open(1)).start(keeper);
      await until('the record', () => keeper.got.length === 1);
      assert.equal(keeper.got[0].bytes.toString(), 'early');
    });

    it('say full with false, call onBatchEnd when there is room, and lose nothing', async () => {
      const a = await ground.peer(0);
      for (const urgent of [true, false]) a.flood(1, urgent, 0, 100_000);
      assert.ok(a.refusals >= 2);
      assert.ok(a.flooding);
      const gauged = a.links as GaugedLinks;
      for (const urgent of [true, false]) {
        const full = gauged.occupancy(1, urgent);
        assert.ok(full > 0.9 && full <= 1, `${full}`);
      }
      const before = a.batches;
      const b = await ground.peer(1);
      for (const urgent of [true, false]) {
        await until('all records', () => b.path(0, urgent).count === 100_000);
        assert.deepEqual(b.path(0, urgent), {
          count: 100_000,
          generation: 0,
          last: 99_999,
          gaps: 0,
          errors: 0,
        });
      }
      assert.ok(a.batches > before);
      await until('no occupancy', () => gauged.occupancy(1, true) + gauged.occupancy(1, false) === 0);
    });

    it('carry floods between three processes, each to each', async () => {
      const count = 60_000;
      const here = await ground.peer(0);
      const programs = await Promise.all([ground.program(1), ground.program(2)]);
      for (const urgent of [true, false]) {
        for (const to of [1, 2]) here.flood(to, urgent, 0, count);
        for (const [i, program] of programs.entries()) {
          for (let to = 0; to < WORKERS; to++) {
            if (to !== i + 1) program.send({ op: 'flood', to, urgent, generation: 0, count });
          }
        }
      }
      const whole = { count, generation: 0, last: count - 1, gaps: 0, errors: 0 };
      const keys = (peers: number[]) => peers.flatMap((peer) => [`${peer} urgent`, `${peer} bulk`]);
      await until('all records here', () =>
        keys([1, 2]).every((key) => here.paths.get(key)?.count === count),
      );
      for (const key of keys([1, 2])) assert.deepEqual(here.paths.get(key), whole);
      for (const [i, program] of programs.entries()) {
        const others = keys([0, 1, 2].filter((slot) => slot !== i + 1));
        let answer: Answer = {};
        await until('all records there', async () => {
          answer = await program.ask({ op: 'stats' });
          return others.every((key) => answer.stats?.[key]?.count === count);
        });
        for (const key of others) assert.deepEqual(answer.stats?.[key], whole);
      }
    });

    it('lose no wake-up: pings at every moment around falling asleep', async () => {
      await ground.program(1);
      const peers = [await ground.peer(0), await ground.peer(2)];
      const ping = (peer: LinkPeer) =>
        new Promise<void>((resolve, reject) => {
          const limit = setTimeout(() => reject(new Error('no pong within 5 s')), 5000);
          peer.onPong = () => {
            clearTimeout(limit);
            resolve();
          };
          peer.ping(1);
        });
      const rounds = 1500;
      for (let round = 0; round < rounds; round++) {
        await Promise.all(peers.map(ping));
        // The reader stays awake for about 100 µs: the next ping comes 0 to 300 µs after this pong.
        const end = performance.now() + (0.3 * round) / rounds;
        while (performance.now() < end);
      }
      for (const peer of peers) assert.equal(peer.pongs, rounds);
    });

    it('do nothing while there is nothing to do', async () => {
      const [one, two] = await Promise.all([ground.program(1), ground.program(2)]);
      one.send({ op: 'flood', to: 2, urgent: true, generation: 0, count: 10 });
      await until('the records', async () => {
        const { stats } = await two.ask({ op: 'stats' });
        return stats?.['1 urgent']?.count === 10;
      });
      // The command, its timer and its answer take some turns; worker 0 never came. A poll each 50 ms would add 8.
      for (const program of [one, two]) {
        await until('rest', async () => ((await program.ask({ op: 'turns', time: 400 })).turns ?? 99) <= 6);
      }
    });

    it('go on with a new incarnation of a killed writer, behind all of the old one', async () => {
      const here = await ground.peer(0);
      const stats = here.path(1, false);
      for (let generation = 1; generation <= 3; generation++) {
        const program = await ground.program(1);
        program.send({ op: 'flood', to: 0, urgent: false, generation, count: 2_000_000 });
        const enough = stats.count + 1000;
        await until('records', () => stats.generation === generation && stats.count > enough);
        await program.end('SIGKILL');
        here.links.drain(1);
        if (kind === 'shared-memory') {
          const { count } = stats;
          assert.equal(ground.segment?.ringBytes(1, 0, false), 0);
          await new Promise(setImmediate);
          assert.equal(stats.count, count);
        }
      }
      const last = await ground.program(1);
      last.send({ op: 'flood', to: 0, urgent: false, generation: 4, count: 10 });
      await until('the last generation', () => stats.generation === 4 && stats.last === 9);
      assert.equal(stats.errors, 0);
      assert.equal(stats.gaps, 0);
    });

    it('go on with a new incarnation of a killed reader', async () => {
      const here = await ground.peer(0);
      const count = 1_000_000;
      let reader = await ground.program(1);
      here.flood(1, false, 0, count);
      for (let kills = 0; kills < 3 && here.flooding; kills++) {
        await until(
          'records',
          async () => ((await reader.ask({ op: 'stats' })).stats?.['0 bulk']?.count ?? 0) > 1000,
        );
        await reader.end('SIGKILL');
        reader = await ground.program(1);
      }
      let answer: Answer = {};
      await until('the end', async () => {
        answer = await reader.ask({ op: 'stats' });
        return !here.flooding && answer.stats?.['0 bulk']?.last === count - 1;
      });
      assert.equal(answer.stats?.['0 bulk'].errors, 0);
      // Its first record is not number 0. Over sockets another part is lost when it came while nobody listened.
      assert.ok((answer.stats?.['0 bulk'].gaps ?? 9) <= 1);
    });

    it('wake a reader whose doorbell or socket is new to a writer that lives on', async () => {
      const here = await ground.peer(0);
      for (let incarnation = 0; incarnation < 4; incarnation++) {
        const program = await ground.program(1);
        for (let i = 0; i < 3; i++) {
          // Over sockets a ping to the dead incarnation may be lost with it, so it is repeated.
          const before = here.pongs;
          await until('a pong', async () => {
            here.ping(1);
            await new Promise((resolve) => setTimeout(resolve, 10));
            return here.pongs > before;
          });
        }
        await program.end('SIGKILL');
        here.links.drain(1);
      }
    });

    it('are not disturbed by strangers', async () => {
      const [a, b] = [await ground.peer(0), await ground.peer(1)];
      for (let i = 0; i < 3; i++) {
        const stranger = connect(join(ground.socketsDir, '1.sock'));
        stranger.on('error', () => {});
        await once(stranger, 'connect');
        stranger.write(Buffer.alloc(100_000, 'GET / HTTP/1.1\r\n\r\n'));
        // once() would reject: what the other side did not read makes it a reset.
        if (kind === 'unix-socket') await new Promise((resolve) => stranger.on('close', resolve));
        else stranger.destroy();
      }
      a.flood(1, false, 0, 1000);
      await until('all records', () => b.path(0, false).count === 1000);
      assert.equal((b.links as GaugedLinks).corrupt, kind === 'unix-socket' ? 3 : 0);
    });

    it('leave nothing behind, and what was flushed before still arrives', async () => {
      const a = await ground.open(0);
      const keeper = new Keeper();
      const b = await ground.open(1);
      await a.start(new Keeper());
      await b.start(keeper);
      a.to(1).write(false, RecordKind.frames, 0, Buffer.from('last'), 0, 4);
      await a.close();
      await a.close();
      await until('the last record', () => keeper.got.length === 1);
      assert.deepEqual(readdirSync(ground.socketsDir), ['1.sock']);
      await b.close();
      assert.deepEqual(readdirSync(ground.socketsDir), []);
    });

    it('let a process end on its own after close', async () => {
      const program = await ground.program(1);
      const here = await ground.peer(0);
      here.ping(1);
      await until('a pong', () => here.pongs === 1);
      const exit = once(program.process, 'exit');
      assert.deepEqual(await program.ask({ op: 'close' }), { closed: true });
      assert.deepEqual(await exit, [0, null]);
      assert.equal(existsSync(join(ground.socketsDir, '1.sock')), false);
    });

    it('are the worker’s own in a cluster: the primary does not listen for it', async () => {
      let listening = 0;
      const onListening = () => listening++;
      cluster.on('listening', onListening);
      try {
        await ground.clusterProgram(1);
        const here = await ground.peer(0);
        here.ping(1);
        await until('a pong', () => here.pongs === 1);
        assert.equal(listening, 0);
      } finally {
        cluster.off('listening', onListening);
      }
    });

    it('refuse a directory whose sockets would have too long a path', async () => {
      const { segment } = ground;
      const socketsDir = join(ground.socketsDir, 'x'.repeat(100));
      await assert.rejects(openLinks({ kind, slot: 0, workers: WORKERS, socketsDir, segment }), {
        code: 'BAD_CONFIG',
      });
      await assert.rejects(ground.open(WORKERS), RangeError);
    });
  });
}

describe('doorbell', () => {
  const words = new Int32Array(1);
  let dir: string;
  let rings: number;
  let doorbell: Doorbell;
  let ringer: Ringer;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'fb-'));
    rings = 0;
    doorbell = new Doorbell(2, () => rings++);
    ringer = new Ringer(words, 0, join(dir, '0.sock'));
    words[0] = ASLEEP;
  });

  afterEach(async () => {
    await ringer.close();
    await doorbell.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('takes the mark away over a standing connection only, and sends one byte for it', async () => {
    await doorbell.listen(join(dir, '0.sock'));
    ringer.ring();
    assert.equal(words[0], ASLEEP);
    await until('the byte of the connection', () => rings === 1);
    ringer.ring();
    ringer.ring();
    assert.equal(words[0], AWAKE);
    await until('the byte', () => rings === 2);
  });

  it('rings who begins to listen while an attempt to connect is failing', async () => {
    ringer.connect();
    const listening = doorbell.listen(join(dir, '0.sock'));
    ringer.ring();
    await listening;
    await until('a byte', () => rings === 1);
  });

  it('sends the byte of a connection that is being made while closing', async () => {
    await doorbell.listen(join(dir, '0.sock'));
    ringer.ring();
    await ringer.close();
    await until('a byte', () => rings > 0);
  });

  it('comes again to a successor, also over a connection that it does not know to be dead', async () => {
    await doorbell.listen(join(dir, '0.sock'));
    ringer.ring();
    await until('the byte of the connection', () => rings === 1);
    await doorbell.close();
    rings = 0;
    doorbell = new Doorbell(2, () => rings++);
    const listening = doorbell.listen(join(dir, '0.sock'));
    ringer.ring();
    await listening;
    await until('a byte', () => rings > 0);
  });
});

describe('links over shared memory', () => {
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.make('shared-memory');
  });

  afterEach(() => ground.end());

  it('take a record out of the way that two readers died over', async () => {
    const here = await ground.peer(0);
    here.flood(1, false, 0, 5);
    here.deadly(1);
    here.flood(1, false, 0, 7);
    for (let deaths = 0; deaths < 2; deaths++) {
      const program = await ground.program(1);
      if (program.process.signalCode === null) await once(program.process, 'exit');
    }
    const third = await ground.program(1);
    await until('what lay behind it', async () => {
      const { stats, poison } = await third.ask({ op: 'stats' });
      assert.deepEqual(poison, ['die!']);
      return stats?.['0 bulk']?.count === 7;
    });
  });

  it('need a segment of as many workers', async () => {
    const { socketsDir, segment } = ground;
    const kind = 'shared-memory';
    await assert.rejects(openLinks({ kind, slot: 0, workers: WORKERS, socketsDir }), { code: 'BAD_CONFIG' });
    await assert.rejects(openLinks({ kind, slot: 0, workers: 2, socketsDir, segment }), {
      code: 'BAD_CONFIG',
    });
  });
});
