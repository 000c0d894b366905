import assert from 'node:assert/strict';
import fc from 'fast-check';
import { HistoryMerge, type Wanted } from '../../../../lib/queues/history-merge.js';
import { HistoryReader, HistoryWriter, historySize } from '../../../../lib/queues/history-ring.js';
import { Progress } from '../../../../lib/wire/past.js';

const CAPACITY = 4096;

interface Item {
  slot: number;
  place: number;
  time: number;
  lane: number;
  topic: string;
}

/** Histories of three shards, and a list of all that was ever written. */
class Node {
  readonly all: Item[] = [];
  private readonly buffers = [0, 1, 2].map(() => new ArrayBuffer(historySize(CAPACITY)));
  private readonly writers = this.buffers.map((buffer) => new HistoryWriter(buffer, 0, CAPACITY));
  private time = 0;

  write({ slot, count, lane, topic, size }: Run): void {
    this.time++;
    const src = new Uint8Array(size);
    const bytes = Buffer.from(topic);
    const first = this.writers[slot].write(lane, this.time, Buffer.from('p'), bytes, src, 0, size, count);
    for (let i = 0; i < count; i++) this.all.push({ slot, place: first + i, time: this.time, lane, topic });
  }

  readers(): HistoryReader[] {
    return this.buffers.map((buffer) => new HistoryReader(buffer, 0, CAPACITY));
  }

  /** Whether all that was ever written is there. */
  get isWhole(): boolean {
    return this.writers.every((writer) => writer.kept === writer.next - 1);
  }
}

interface Run {
  slot: number;
  count: number;
  lane: number;
  topic: string;
  size: number;
}

const run = (sizes: [number, number]): fc.Arbitrary<Run> =>
  fc.record({
    slot: fc.nat(2),
    count: fc.integer({ min: 1, max: 4 }),
    lane: fc.nat(4),
    topic: fc.constantFrom('a', 'b'),
    size: fc.integer({ min: sizes[0], max: sizes[1] }),
  });

const OF_A: Omit<Wanted, 'last' | 'since' | 'progress'> = {
  matches: (bytes, start, end) => end - start === 1 && bytes[start] === 97,
};

/** All messages that it brings, in its order, in small steps. */
function readAll(merge: HistoryMerge, wants: (item: Item) => boolean = () => true): Item[] {
  for (let i = 0; !merge.seek(3); i++) assert.ok(i < 10_000);
  const got: Item[] = [];
  for (let i = 0; i < 10_000; i++) {
    const source = merge.next(3);
    if (source === null) {
      if (merge.caughtUp) return got;
      continue;
    }
    const { slot, reader, start } = source;
    for (let place = reader.first; place < reader.first + reader.count; place++) {
      const item = { slot, place, time: reader.arrival, lane: reader.lane, topic: 'a' };
      if (place >= start && wants(item)) got.push(item);
    }
    source.ready = false;
  }
  assert.fail('it never catches up');
}

describe('a merge of histories', () => {
  it('brings the last messages that match, oldest first, of all histories', () => {
    fc.assert(
      fc.property(fc.array(run([0, 40]), { maxLength: 40 }), fc.nat(30), (runs, last) => {
        const node = new Node();
        for (const one of runs) node.write(one);
        const merge = new HistoryMerge(node.readers(), {
          ...OF_A,
          last,
          since: Number.NEGATIVE_INFINITY,
          progress: null,
        });
        const wanted = node.all.filter(({ topic }) => topic === 'a');
        assert.deepEqual(readAll(merge), last === 0 ? [] : wanted.slice(-last));
        assert.equal(merge.gap, false);
      }),
    );
  });

  it('brings what came since a time, and then what comes', () => {
    fc.assert(
      fc.property(fc.array(run([0, 40]), { maxLength: 40 }), fc.nat(45), fc.nat(40), (runs, since, early) => {
        const node = new Node();
        for (const one of runs.slice(0, early)) node.write(one);
        const merge = new HistoryMerge(node.readers(), {
          ...OF_A,
          last: Number.POSITIVE_INFINITY,
          since,
          progress: null,
        });
        const got = readAll(merge);
        for (const one of runs.slice(early)) node.write(one);
        got.push(...readAll(merge));
        const wanted = node.all.filter(({ topic, time }) => topic === 'a' && (time >= since || time > early));
        assert.deepEqual(got, wanted);
      }),
    );
  });

  it('brings just what somebody lacks, lane by lane, or says that it is gone', () => {
    fc.assert(
      fc.property(
        fc.array(run([0, 400]), { maxLength: 60 }),
        fc.array(fc.tuple(fc.nat(2), fc.nat(4), fc.nat(150)), { maxLength: 15 }),
        (runs, known) => {
          const node = new Node();
          for (const one of runs) node.write(one);
          const progress = new Progress();
          for (const [slot, lane, place] of known) progress.reach(slot, lane, place + 1);
          for (let slot = 0; slot < 3; slot++) progress.reachAll(slot, 1);
          const wants = ({ slot, lane, place }: Item) => progress.wants(slot, lane, place);
          const merge = new HistoryMerge(node.readers(), {
            ...OF_A,
            last: Number.POSITIVE_INFINITY,
            since: Number.NEGATIVE_INFINITY,
            progress,
          });
          const wanted = node.all.filter((item) => item.topic === 'a' && wants(item));
          const got = readAll(merge, wants);
          const places = (items: Item[]) => new Set(items.map(({ slot, place }) => `${slot} ${place}`));
          const missing = [...places(wanted)].filter((key) => !places(got).has(key));
          assert.equal(
            got.length + missing.length,
            wanted.length,
            'nothing twice, nothing that is not wanted',
          );
          if (missing.length > 0) assert.equal(merge.gap, true, 'a hole is told');
          if (node.isWhole) assert.deepEqual([got, merge.gap], [wanted, false]);
        },
      ),
    );
  });

  it('tells of a gap when it is overtaken on the way', () => {
    const node = new Node();
    const one = { slot: 1, count: 1, lane: 0, topic: 'a', size: 200 };
    for (let i = 0; i < 10; i++) node.write(one);
    const merge = new HistoryMerge(node.readers(), {
      ...OF_A,
      last: Number.POSITIVE_INFINITY,
      since: 0,
      progress: null,
    });
    assert.equal(merge.seek(1000), true);
    for (let i = 0; i < 30; i++) node.write(one);
    const got = readAll(merge);
    assert.equal(merge.gap, true);
    assert.ok(got.length > 0 && got.length < 40);
    assert.equal(got.at(-1)!.place, 40);
  });
});
