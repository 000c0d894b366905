/** Many light agents in one process. */
import { now, sleep } from '../clock.js';
import { LightAgent } from './light-agent.js';
import { readNumber } from './payload.js';
import { serve } from './serve.js';

const agents: LightAgent[] = [];
const notes: string[] = [];
/** Events that are told, at most. */
const MAX_NOTES = 10;

/** How many agents have had broadcast i, and when the last one had it (ms of the machine's clock). */
const had: number[] = [];
const last: number[] = [];
let received = 0;
/** Heartbeats that were answered, and when the last was (ms). */
let pongs = 0;
let lastPong = 0;

/** How often it is looked whether a broadcast has reached all (ms). */
const LOOK = 1;

function note(text: string): void {
  if (notes.length < MAX_NOTES) notes.push(`swarm: ${text}`);
}

const owner = {
  onMessage(_agent: LightAgent, payload: Uint8Array): void {
    const number = readNumber(payload);
    received++;
    had[number] = (had[number] ?? 0) + 1;
    last[number] = now();
  },
  onPong(): void {
    pongs++;
    lastPong = now();
  },
  onLost({ agentId }: LightAgent, why: string): void {
    note(`${agentId} lost its connection: ${why}`);
  },
};

export interface Gathering {
  host: string;
  port: number;
  /** Agents are called prefix-0, prefix-1 and so on. */
  prefix: string;
  count: number;
  /** Connections that are being made at a time. */
  inFlight: number;
  topic: string;
  /** Where the connections come from; undefined leaves it to the system. */
  localAddress?: string | undefined;
}

const operations = {
  /** Resolves when all have had their welcome. */
  async connect(what: Gathering): Promise<{ began: number; ended: number }> {
    const { host, port, prefix, count, inFlight, topic, localAddress } = what;
    const began = now();
    let next = 0;
    const connectSome = async (): Promise<void> => {
      while (next < count) {
        const agentId = `${prefix}-${next++}`;
        agents.push(await LightAgent.connect({ host, port, localAddress }, agentId, [topic], owner));
      }
    };
    await Promise.all(Array.from({ length: Math.min(inFlight, count) }, connectSome));
    return { began, ended: now() };
  },

  /** Resolves when all have had the broadcast of this number, or at the latest after `patience` milliseconds. */
  async broadcast({ number, patience }: { number: number; patience: number }) {
    const latest = now() + patience;
    while ((had[number] ?? 0) < agents.length && now() < latest) await sleep(LOOK);
    return { had: had[number] ?? 0, at: last[number] ?? now() };
  },

  /** One heartbeat of each, as fast as they can be sent. Resolves as `broadcast` does. */
  async heartbeat({ patience }: { patience: number }) {
    pongs = 0;
    const began = now();
    for (const agent of agents) agent.ping();
    while (pongs < agents.length && now() < began + patience) await sleep(LOOK);
    return { pongs, began, ended: lastPong };
  },

  /** Messages in all. */
  received(): number {
    return received;
  },

  notes(): string[] {
    return notes;
  },

  /** Resolves when all have left. */
  async disperse(): Promise<void> {
    await Promise.all(agents.splice(0).map((agent) => agent.close()));
  },
};

export type SwarmOperations = typeof operations;

serve(operations);
