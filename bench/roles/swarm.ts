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
/** When heartbeats were answered (ms). */
let pongs: number[] = [];

/** How often it is looked whether all have come, or more is due (ms). */
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
    pongs.push(now());
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

  /**
   * One heartbeat of each, as fast as they can be sent from `due` on (ms of the machine's clock). Resolves with how long after
   * that each answer came, when all have come, or at the latest after `patience` milliseconds.
   */
  async heartbeat({ due, patience }: { due: number; patience: number }): Promise<number[]> {
    pongs = [];
    while (now() < due) await sleep(due - now());
    for (const agent of agents) agent.ping();
    while (pongs.length < agents.length && now() < due + patience) await sleep(LOOK);
    return pongs.map((time) => time - due);
  },

  /**
   * Each agent beats once per `interval`, one after the other, from `start` until `end` (ms of the machine's clock), as
   * agents do that came one by one. Resolves with how many were sent, and answered `patience` milliseconds later.
   */
  async beatInTurn(what: { start: number; end: number; interval: number; patience: number }) {
    const { start, end, interval, patience } = what;
    const pause = interval / agents.length;
    let sent = 0;
    pongs = [];
    // Whatever is due before the end is sent, however late.
    for (let due = start; due < end; due = start + ++sent * pause) {
      while (now() < due) await sleep(LOOK);
      agents[sent % agents.length].ping();
    }
    while (pongs.length < sent && now() < end + patience) await sleep(LOOK);
    return { sent, answered: pongs.length };
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
