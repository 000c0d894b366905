/** Subscribing agents, over the SDK: they count, and for latency they look at when a message was due. */
import { type Agent, connect, type Message } from '../../lib/client/index.js';
import { now } from '../clock.js';
import { type Percentiles, Recorder } from './latency.js';
import { LEAST_PAYLOAD, readDue } from './payload.js';
import { serve } from './serve.js';

let agent: Agent | null = null;
let received = 0;
let recordFrom = Number.POSITIVE_INFINITY;
let recorder = new Recorder();
const notes: string[] = [];
/** Events that are told, at most. */
const MAX_NOTES = 10;

function note(text: string): void {
  if (notes.length < MAX_NOTES) notes.push(text);
}

function count(): void {
  received++;
}

function record(message: Message): void {
  const time = now();
  received++;
  const { payload } = message;
  if (payload.length < LEAST_PAYLOAD) throw new Error('A payload without the time at which it was due.');
  const due = readDue(payload);
  if (due >= recordFrom) recorder.record(time - due);
}

const operations = {
  /** Subscribes; resolves with the shard that the agent is on. */
  async connect(what: { url: string; agentId: string; topic: string; timed: boolean }): Promise<number> {
    agent = await connect(what.url, { agentId: what.agentId, agentType: 'subscriber' });
    agent.on('error', (error) => note(`subscriber: ${error.code} ${error.message}`));
    agent.on('gap', ({ missed, reason }) =>
      note(`subscriber: a gap of ${missed ?? 'unknown'} messages (${reason})`),
    );
    agent.on('disconnect', ({ code, message }) =>
      note(`subscriber: lost its connection, ${code} ${message}`),
    );
    await agent.subscribe(what.topic, what.timed ? record : count);
    const [found] = await agent.agents({ id: what.agentId });
    return found.shard;
  },

  /** Latencies are recorded of what is due from this time on (ms of the machine's clock). */
  recordFrom(time: number): void {
    recorder = new Recorder();
    recordFrom = time;
  },

  latencies(): Percentiles {
    return recorder.percentiles();
  },

  mark(): { count: number; at: number } {
    return { count: received, at: now() };
  },

  notes(): string[] {
    return notes;
  },
};

export type SubscriberOperations = typeof operations;

serve(operations, async () => {
  await agent?.close();
});
