import assert from 'node:assert/strict';
import { BatchReader, Step } from '../../../../lib/wire/batch.js';
import { Encoding, FrameType, viewOf } from '../../../../lib/wire/frame.js';
import {
  type Past,
  PastKind,
  PLACE_FRAME,
  Progress,
  replayingPayload,
  Stage,
  writePlace,
} from '../../../../lib/wire/past.js';
import { controlFrame } from '../../../../lib/wire/writer.js';
import { StreamReplay } from '../../../../shards/doors/stream-replay.js';

const HISTORY = '0102030405060708';

function readerOn(frame: Uint8Array): BatchReader {
  const reader = new BatchReader();
  reader.open(frame, 0, frame.length, frame.length);
  assert.equal(reader.next(), Step.frame);
  return reader;
}

function stage(which: number, ...places: number[]): BatchReader {
  const payload = replayingPayload(1, which, Buffer.from(HISTORY, 'hex'), places);
  return readerOn(controlFrame(FrameType.replaying, 0, Encoding.bytes, payload));
}

function place(lane: number, slot: number, first: number, count: number): BatchReader {
  const frame = new Uint8Array(PLACE_FRAME);
  writePlace(frame, viewOf(frame), 0, lane, slot, first, count);
  return readerOn(frame);
}

function past(slot: number, number: number, kind: PastKind = PastKind.replayed): Past {
  return { stream: 1, kind, slot, place: number, age: 0, from: 'a', topic: 't', start: 0, end: 0 };
}

describe('the replay of an event stream', () => {
  it('leaves out live messages that come as messages of the past, or came', () => {
    const replay = new StreamReplay(null);
    assert.equal(replay.idAt(0), null);
    assert.ok(replay.takes(2), 'what is not kept has no place, and comes once');
    replay.onStage(stage(Stage.begins, 1, 5));
    replay.onPlace(place(2, 1, 6, 1));
    assert.equal(replay.takes(2), false, 'it will come as one of the past');
    replay.onPast(past(1, 6));
    replay.onStage(stage(Stage.caughtUp, 9, 8));
    replay.onPlace(place(2, 1, 6, 3));
    assert.deepEqual(
      [6, 7, 8].map(() => replay.takes(2)),
      [false, false, true],
    );
    assert.ok(replay.takes(2), 'the places are used up');
  });

  it('says how far it has come, by slot, and by lane where it is live', () => {
    const replay = new StreamReplay(null);
    replay.onStage(stage(Stage.begins, 1, 5));
    assert.equal(replay.idAt(36), `${HISTORY}.10.0-1.1-5`);
    replay.onPast(past(1, 6));
    replay.onPast(past(0, 0, PastKind.retained));
    assert.equal(replay.idAt(36), `${HISTORY}.10.0-1.1-7`);
    replay.onStage(stage(Stage.caughtUp, 9, 8));
    replay.onPlace(place(4, 0, 11, 1));
    replay.takes(4);
    assert.equal(replay.idAt(36), `${HISTORY}.10.0-9-9-9-9-c.1-8`);
  });

  it('knows what its reader has, also before anything new has come', () => {
    const progress = new Progress();
    progress.reachAll(0, 20);
    progress.reach(0, 3, 25);
    const replay = new StreamReplay({ cursor: progress.cursor(HISTORY), at: 0 });
    replay.onStage(stage(Stage.begins, 12));
    assert.equal(replay.idAt(0), `${HISTORY}.0.0-k-k-k-p-k`);
  });
});
