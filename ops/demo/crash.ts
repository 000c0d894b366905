/**
 * The second act of the demo: the tasks lie in the mailbox of a group, and whoever counts one is killed in the midst of it. It is
 * given to another, and the answers are put together once each.
 */
import type { Agent, Message } from '../../lib/client/index.js';
import { TASK_HEADER } from './coordinator.js';
import type { Task } from './corpus.js';
import { addCount, type Count, type CountPayload, emptyCount, fromPayload } from './count.js';

/** Where tasks are published, and the group that shares them. */
export const TASKS = 'demo.task';
export const GROUP = 'counters';

/** Tasks that the coordinator has under way to the mailbox at a time. */
const WINDOW = 32;

/** What a worker sends to the coordinator's mailbox. */
export interface Answer {
  task: number;
  worker: string;
  /** How often somebody had got the task before. */
  redelivered: number;
  count: CountPayload;
}

export interface CrashReport {
  /** The task at which its worker was killed, by that worker, and by its process. */
  task: number;
  worker: string;
  process: number;
  /** Who did it then. */
  heir: string;
  /** Answers to tasks that had been given out before. */
  redelivered: number;
  /** Answers that came again, and were put aside. */
  repeats: number;
  seconds: number;
}

export class Collection {
  readonly count: Count;
  readonly heirs: Map<number, string>;
  redelivered: number;
  repeats: number;
  readonly #left: Set<number>;
  #done: () => void;
  /** Resolves when every task is answered. */
  readonly complete: Promise<void>;

  constructor(tasks: readonly Task[]) {
    this.count = emptyCount();
    this.heirs = new Map();
    this.redelivered = 0;
    this.repeats = 0;
    this.#left = new Set(tasks.map(({ number }) => number));
    this.#done = () => {};
    this.complete = new Promise((resolve) => {
      this.#done = resolve;
    });
  }

  /** Assured is at least once: an answer that came already must not count again. */
  take(message: Message): void {
    const { task, worker, redelivered, count } = message.json<Answer>();
    if (!this.#left.delete(task)) {
      this.repeats++;
      return;
    }
    addCount(this.count, fromPayload(count));
    this.heirs.set(task, worker);
    if (redelivered > 0) this.redelivered++;
    if (this.#left.size === 0) this.#done();
  }
}

/** Resolves when all tasks are in the group's mailbox. */
export async function publishTasks(agent: Agent, tasks: readonly Task[]): Promise<void> {
  const waiting = [...tasks].reverse();
  const publish = async (): Promise<void> => {
    for (let task = waiting.pop(); task !== undefined; task = waiting.pop())
      await agent.publish(TASKS, task.text, {
        assured: true,
        headers: { [TASK_HEADER]: String(task.number) },
      });
  };
  await Promise.all(Array.from({ length: WINDOW }, publish));
}
