import assert from 'node:assert/strict';
import type { Message } from '../../../../lib/client/index.js';
import { countWords, toPayload } from '../../../../ops/demo/count.js';
import { type Answer, Collection } from '../../../../ops/demo/crash.js';

function answer(task: number, worker: string, redelivered: number, text: string): Message {
  const value: Answer = { task, worker, redelivered, count: toPayload(countWords(text)) };
  return { json: () => value } as unknown as Message;
}

describe('the second act of the demo', () => {
  it('counts each answer once, whoever gives it, and ends with the last', async () => {
    const tasks = ['one two', 'two'].map((text, number) => ({ number, path: 'x', text }));
    const collection = new Collection(tasks);
    let complete = false;
    void collection.complete.then(() => {
      complete = true;
    });
    collection.take(answer(0, 'a', 0, 'one two'));
    collection.take(answer(0, 'b', 1, 'one two'));
    await Promise.resolve();
    assert.ok(!complete);
    collection.take(answer(1, 'b', 1, 'two'));
    await collection.complete;
    assert.equal(collection.count.total, 3);
    assert.deepEqual([...collection.heirs.values()], ['a', 'b']);
    assert.deepEqual([collection.redelivered, collection.repeats], [1, 1]);
  });
});
