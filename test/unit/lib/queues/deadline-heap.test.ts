import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DeadlineHeap } from '../../../../lib/queues/deadline-heap.js';

describe('DeadlineHeap', () => {
  it('gives out what is due, earliest first, and nothing before', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000)), fc.nat(1000), (times, now) => {
        const heap = new DeadlineHeap<number>();
        for (const time of times) heap.push(time, time);
        const due = times.filter((time) => time <= now).sort((a, b) => a - b);
        const got: number[] = [];
        for (let time = heap.pop(now); time !== null; time = heap.pop(now)) got.push(time);
        assert.deepEqual(got, due);
        assert.equal(heap.size, times.length - due.length);
        const later = times.filter((time) => time > now);
        assert.equal(heap.first, later.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...later));
      }),
    );
  });

  it('gives out what is due at the same time in the order in which it came', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5)), (times) => {
        const heap = new DeadlineHeap<[time: number, index: number]>();
        times.forEach((time, i) => {
          heap.push([time, i], time);
        });
        heap.retain(([, i]) => i % 7 !== 0);
        const got: [number, number][] = [];
        for (let item = heap.pop(9); item !== null; item = heap.pop(9)) got.push(item);
        const kept = times.map((time, i): [number, number] => [time, i]).filter(([, i]) => i % 7 !== 0);
        assert.deepEqual(
          got,
          kept.sort((a, b) => a[0] - b[0] || a[1] - b[1]),
        );
      }),
    );
  });

  it('keeps what is retained in order, and nothing that is never due', () => {
    const heap = new DeadlineHeap<number>();
    for (const time of [5, 1, 4, Number.POSITIVE_INFINITY, 2, 3]) heap.push(time, time);
    assert.equal(heap.size, 5);
    heap.retain((time) => time % 2 === 1);
    assert.deepEqual([heap.pop(9), heap.pop(9), heap.pop(9), heap.pop(9)], [1, 3, 5, null]);
  });
});
