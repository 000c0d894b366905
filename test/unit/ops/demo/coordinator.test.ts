import assert from 'node:assert/strict';
import { FlowbusError } from '../../../../lib/errors.js';
import { Coordinator, type Requester } from '../../../../ops/demo/coordinator.js';
import type { Task } from '../../../../ops/demo/corpus.js';
import { countWords, differenceOf, toPayload } from '../../../../ops/demo/count.js';

const TASKS: Task[] = ['a b', 'b c', 'c d', 'd e', 'e f'].map((text, number) => ({
  number,
  path: `file-${number}.md`,
  text,
}));
const ALL = countWords('a b b c c d d e e f');

/** Answers as workers do, but where `fault` has an error for it. */
function workers(fault: (worker: string, text: string) => Error | null): Requester & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async request(worker, text) {
      asked.push(`${worker}: ${text}`);
      await new Promise((resolve) => setImmediate(resolve));
      const error = fault(worker, text);
      if (error !== null) throw error;
      const payload = JSON.stringify(toPayload(countWords(text)));
      return { json: <T>() => JSON.parse(payload) as T };
    },
  };
}

const timeout = (): Error => new FlowbusError('TIMEOUT', 'No answer.');

describe('the coordinator of the demo', () => {
  it('puts the answers of all workers together', async () => {
    const steps: number[] = [];
    const coordinator = new Coordinator(
      workers(() => null),
      TASKS,
      {
        timeout: 100,
        onDone: (done, all) => steps.push(done / all),
      },
    );
    const { count, shares, retries, setAside } = await coordinator.run(['one', 'two', 'three']);
    assert.equal(differenceOf(count, ALL), null);
    assert.deepEqual(steps, [0.2, 0.4, 0.6, 0.8, 1]);
    assert.equal(
      shares.reduce((sum, { tasks }) => sum + tasks, 0),
      5,
    );
    assert.equal(
      shares.reduce((sum, { words }) => sum + words, 0),
      10,
    );
    assert.equal(retries, 0);
    assert.deepEqual(setAside, []);
  });

  it('gives the task of a worker that does not answer to another, and no more to that one', async () => {
    const agent = workers((worker) => (worker === 'one' ? timeout() : null));
    const coordinator = new Coordinator(agent, TASKS, { timeout: 100, onDone: () => {} });
    const { count, retries, setAside } = await coordinator.run(['one', 'two']);
    assert.equal(differenceOf(count, ALL), null);
    assert.equal(retries, 1);
    assert.deepEqual(setAside, ['one']);
    assert.equal(agent.asked.filter((text) => text.startsWith('one')).length, 1);
  });

  it('wakes a worker that had nothing left to do', async () => {
    let slow: () => void = () => {};
    const late = new Promise<void>((resolve) => {
      slow = resolve;
    });
    const answers = workers(() => null);
    const agent: Requester = {
      async request(worker, text, options) {
        if (worker === 'one') {
          await late;
          throw timeout();
        }
        if (text === TASKS[4].text) setImmediate(slow);
        return answers.request(worker, text, options);
      },
    };
    const coordinator = new Coordinator(agent, TASKS, { timeout: 100, onDone: () => {} });
    const { count, shares } = await coordinator.run(['one', 'two']);
    assert.equal(differenceOf(count, ALL), null);
    assert.deepEqual(
      shares.map(({ tasks }) => tasks),
      [0, 5],
    );
  });

  it('gives up a task that nobody can do', async () => {
    const agent = workers((_, text) =>
      text === 'b c' ? new FlowbusError('HANDLER_FAILED', 'It is too hard.') : null,
    );
    const coordinator = new Coordinator(agent, TASKS, { timeout: 100, onDone: () => {} });
    await assert.rejects(
      coordinator.run(['one', 'two']),
      /Task 1 \(file-1\.md\) failed 4 times, at last at (one|two): It is too hard\./,
    );
    assert.equal(agent.asked.filter((text) => text.endsWith('b c')).length, 4);
  });

  it('gives up when no worker is left', async () => {
    const agent = workers((worker, text) => (worker === 'one' && text === 'a b' ? null : timeout()));
    const coordinator = new Coordinator(agent, TASKS, { timeout: 100, onDone: () => {} });
    await assert.rejects(coordinator.run(['one', 'two']), /4 tasks are left/);
  });
});
