/** The routing of one shard in a process of its own: the shard as the broker has it, but nobody is connected. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { makeConfig } from '../../lib/config/index.js';
import type { Links } from '../../lib/links.js';
import { attachBlock, TELEMETRY_BYTES } from '../../lib/telemetry/block.js';
import { decodeTopic } from '../../lib/topics/topic.js';
import { LANE_NORMAL } from '../../lib/wire/frame.js';
import { Shard } from '../../shards/shard.js';
import { now } from '../clock.js';
import { patternOf, topicOf } from './fleet.js';
import { Random } from './random.js';
import { serve } from './serve.js';

/** Subscriptions of one agent. */
const SHARE = 1000;

/** Topics that are looked up before the clock is read again: a thousand of the shortest take longer than its steps. */
const ROUND = 1024;

/** Topics whose routes are cached: fewer than a shard gives ids to. */
const CACHED = 50_000;

/** A single worker has none. */
const NO_LINKS: Links = {
  kind: 'unix-socket',
  to: () => {
    throw new RangeError('there is no other worker');
  },
  start: () => Promise.resolve(),
  drain: () => {},
  close: () => Promise.resolve(),
};

const { exchange, sessions } = new Shard(
  { slot: 0, workers: 1, incarnation: 0, clockOffset: 0, node: 'bench', config: makeConfig({ shards: 1 }) },
  NO_LINKS,
  attachBlock(new ArrayBuffer(TELEMETRY_BYTES)),
  () => {},
);

const random = new Random();
const encoder = new TextEncoder();
let subscriptions = 0;

/** As the door makes it of bytes: flat, and not the same string as any that is kept. */
function fresh(text: string): string {
  const bytes = encoder.encode(text);
  return decodeTopic(bytes, 0, bytes.length)!;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heap(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function subscribeShare(first: number, end: number, wildcards: boolean): void {
  const { session } = sessions.open({
    agentId: `holder-${first}`,
    agentType: 'holder',
    capabilities: [],
    subscriptions: [],
    priority: LANE_NORMAL,
    heartbeatInterval: 0,
    metadata: '{}',
    token: null,
    resume: null,
  });
  const patterns: string[] = [];
  for (let worker = first; worker < end; worker++) patterns.push(fresh(patternOf(worker, wildcards)));
  sessions.subscribe(session, patterns);
}

/** The topics of a round, and the ids of those that have one. */
const texts: string[] = [];
const ids: number[] = [];

function pickAny(): void {
  for (let i = 0; i < ROUND; i++) texts[i] = fresh(topicOf(random.below(subscriptions)));
}

function pickCached(): void {
  const known = Math.min(subscriptions, CACHED);
  for (let i = 0; i < ROUND; i++) {
    texts[i] = fresh(topicOf(random.below(known)));
    ids[i] = exchange.topics.get(texts[i])!.id;
  }
}

/** Each round returns how many takers it found. */
function matchRound(): number {
  let takers = 0;
  for (let i = 0; i < ROUND; i++) takers += exchange.route(texts[i]).sessions.length;
  return takers;
}

function textRound(): number {
  let takers = 0;
  for (let i = 0; i < ROUND; i++) takers += exchange.routeOf(exchange.topics.get(texts[i])!).sessions.length;
  return takers;
}

function idRound(): number {
  let takers = 0;
  for (let i = 0; i < ROUND; i++)
    takers += exchange.routeOf(exchange.topicIds.find(ids[i])!.topic).sessions.length;
  return takers;
}

const ROUNDS = {
  match: { pick: pickAny, round: matchRound },
  cachedText: { pick: pickCached, round: textRound },
  cachedId: { pick: pickCached, round: idRound },
} as const;

const operations = {
  /** Resolves with the bytes of heap that each subscription takes, its agent's session included. */
  subscribe({ count, wildcards }: { count: number; wildcards: boolean }): number {
    const before = heap();
    for (let first = 0; first < count; first += SHARE)
      subscribeShare(first, Math.min(count, first + SHARE), wildcards);
    subscriptions = count;
    return (heap() - before) / count;
  },

  /** Topics become known, with an id and a cached route, as they do when they are published on again and again. */
  learn(): void {
    for (let worker = 0; worker < Math.min(subscriptions, CACHED); worker++) {
      const topic = exchange.topic(fresh(topicOf(worker)))!;
      while (topic.id === 0) exchange.seen(topic);
      exchange.routeOf(topic);
    }
  },

  /** Rounds for so many milliseconds after the warm-up. `cost`: nanoseconds of one look-up. */
  time({ what, warmup, length }: { what: keyof typeof ROUNDS; warmup: number; length: number }) {
    const { pick, round } = ROUNDS[what];
    const measured = { lookups: 0, takers: 0, cost: 0 };
    let spent = 0;
    const from = now() + warmup;
    for (let began = now(); began < from + length || measured.lookups === 0; ) {
      pick();
      began = now();
      const takers = round();
      const took = now() - began;
      if (began < from) continue;
      measured.lookups += ROUND;
      measured.takers += takers;
      spent += took;
    }
    measured.cost = (spent * 1e6) / measured.lookups;
    return measured;
  },
};

export type RouterOperations = typeof operations;

serve(operations);
