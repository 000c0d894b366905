/**
 * The counters and gauges of a worker: a number per cell of its telemetry block. The hot path writes
 * `metrics.counters[C.publishesIn] += n` and nothing else; names and help are looked at when somebody reads.
 *
 * Counters are doubles: exact up to 2^53, which at ten million a second lasts 28 years. Each cell has one writer,
 * so an increment needs no read-modify-write across processes, only one store; and an aligned store or load of
 * eight bytes is a single one on every 64-bit machine (x86-64, AArch64), so a reader sees the old or the new
 * number, never half of each. Atomics would make the same store a fenced one, and so slower, for no gain: readers
 * need no order between two counters.
 */
import { LETTER_KINDS } from '../dead-letter.js';
import { LANES } from '../wire/frame.js';

/**
 * Cell of each counter and gauge. Written as a literal, so that the engine treats the numbers as constants.
 * One cell per lane: `C.shedsCritical + lane`; one per kind of dead letter: `C.diedNetworkTimeout + kind`.
 */
export const C = {
  connections: 0,
  agents: 1,
  sessionsHeld: 2,
  topics: 3,
  subscriptions: 4,
  streams: 5,
  holdsActive: 6,
  loopDelayMax: 7,
  loopDelayMean: 8,
  rss: 9,
  heapUsed: 10,
  startedAt: 11,
  beatAt: 12,
  connects: 13,
  disconnects: 14,
  resumes: 15,
  batchesIn: 16,
  batchesOut: 17,
  publishesIn: 18,
  publishBytesIn: 19,
  deliveriesOut: 20,
  deliveryBytesOut: 21,
  routedNone: 22,
  routedUnicast: 23,
  routedMulticast: 24,
  routeHits: 25,
  routeMisses: 26,
  linkFramesIn: 27,
  linkBytesIn: 28,
  linkFramesOut: 29,
  linkBytesOut: 30,
  linkStalls: 31,
  holdsTotal: 32,
  shedsCritical: 33,
  shedsHigh: 34,
  shedsNormal: 35,
  shedsLow: 36,
  shedsBackground: 37,
  gapFrames: 38,
  gapMessages: 39,
  protocolErrors: 40,
  httpSuccesses: 41,
  httpRefusals: 42,
  httpFailures: 43,
  cpuUser: 44,
  cpuSystem: 45,
  restarts: 46,
  mailboxes: 47,
  mailboxMessages: 48,
  mailboxBytes: 49,
  mailboxInFlight: 50,
  journalBytes: 51,
  mailboxStored: 52,
  mailboxDeliveries: 53,
  mailboxRedeliveries: 54,
  mailboxAcks: 55,
  mailboxExpired: 56,
  breakersOpen: 57,
  breakersOpened: 58,
  breakersHalfOpened: 59,
  breakersClosed: 60,
  mailboxDelayed: 61,
  journalUnread: 62,
  mailboxesPressed: 63,
  mailboxesEmergency: 64,
  mailboxReturned: 65,
  deadLetters: 66,
  deadLetterBytes: 67,
  diedNetworkTimeout: 68,
  diedAgentUnavailable: 69,
  diedMessageCorruption: 70,
  diedCircuitBreaker: 71,
  diedPoisonMessage: 72,
  diedUnknownError: 73,
  deadLettersTooMany: 74,
  deadLettersTooOld: 75,
  deadLettersReplayed: 76,
  deadLettersPurged: 77,
  historyBytes: 78,
  historyAge: 79,
  historyMessages: 80,
  replays: 81,
  replayed: 82,
  retained: 83,
  retainedBytes: 84,
  nodes: 85,
  nodeFramesIn: 86,
  nodeBytesIn: 87,
  nodeFramesOut: 88,
  nodeBytesOut: 89,
  nodeBatchesOut: 90,
} as const;
export type CounterName = keyof typeof C;

/** More than there are, so that the layout need not move with each new one. */
export const COUNTER_CELLS = 96;

export interface MetricEntry {
  /** A gauge goes up and down and dies with its process; a counter outlives it. */
  readonly kind: 'counter' | 'gauge';
  /** In Prometheus; the same name may stand more than once, with different labels. */
  readonly metric: string;
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What the number of a whole node is, out of those of its workers. */
  readonly merge: 'sum' | 'max' | 'min';
}

type Labels = Readonly<Record<string, string>>;
const NO_LABELS: Labels = {};

function counter(metric: string, help: string, labels: Labels = NO_LABELS): MetricEntry {
  return { kind: 'counter', metric: `flowbus_${metric}_total`, help, labels, merge: 'sum' };
}

function gauge(
  metric: string,
  help: string,
  merge: MetricEntry['merge'] = 'sum',
  labels: Labels = NO_LABELS,
): MetricEntry {
  return { kind: 'gauge', metric: `flowbus_${metric}`, help, labels, merge };
}

function shed(lane: number): MetricEntry {
  return counter('sheds', 'Live frames shed by slow connections and nearly full mailboxes, by lane.', {
    lane: LANES[lane],
  });
}

function died(kind: number): MetricEntry {
  return counter('mailbox_dead', 'Messages that became dead letters, by kind.', { kind: LETTER_KINDS[kind] });
}

const DROPPED = 'Dead letters dropped, the oldest first, since they were too many or too old.';
const ROUTED = 'Frames routed, by how many takers (sessions here, other workers) they had.';
const ROUTES = 'Look-ups in the route cache.';
const LINK_FRAMES = 'Frames over the links to the other workers.';
const LINK_BYTES = 'Bytes over the links to the other workers.';
const NODE_FRAMES = 'Messages over the links with other nodes.';
const NODE_BYTES = 'Bytes over the links with other nodes.';
const UNDER_PRESSURE =
  'Mailboxes that are over 80 % full and not down to 60 % yet; in an emergency, from 95 % on, they take no live messages.';
const HTTP = 'HTTP requests answered, by class of status.';
const BREAKERS = 'Times a circuit breaker of a consumer changed, by what it changed to.';
const CPU = 'Processor time.';

/** What each cell means. */
export const METRICS: Readonly<Record<CounterName, MetricEntry>> = {
  connections: gauge('connections', 'Open connections of agents.'),
  agents: gauge('agents', 'Agents online.'),
  sessionsHeld: gauge('sessions_held', 'Sessions without a connection that can still be resumed.'),
  topics: gauge('topics', 'Topics that have an id.'),
  subscriptions: gauge('subscriptions', 'Patterns subscribed to.'),
  streams: gauge('streams', 'Open event streams over HTTP.'),
  holdsActive: gauge('holds', 'Connections not read at the moment, because those they feed are slow.'),
  loopDelayMax: gauge('loop_delay_max_seconds', 'Longest delay of the event loop in the last second.', 'max'),
  loopDelayMean: gauge('loop_delay_mean_seconds', 'Mean delay of the event loop in the last second.', 'max'),
  rss: gauge('resident_memory_bytes', 'Resident memory.'),
  heapUsed: gauge('heap_used_bytes', 'Used part of the JavaScript heap.'),
  startedAt: gauge('start_time_seconds', 'When this incarnation began (Unix time).', 'max'),
  beatAt: gauge(
    'beat_time_seconds',
    'When the event loop last ran (Unix time): old means stuck or gone.',
    'min',
  ),
  connects: counter('connects', 'Connections that got a welcome.'),
  disconnects: counter('disconnects', 'Connections that had a welcome and ended.'),
  resumes: counter('resumes', 'Sessions taken up again by a new connection.'),
  batchesIn: counter('batches_in', 'Messages (batches of frames) read from connections.'),
  batchesOut: counter('batches_out', 'Messages (batches of frames) written to connections.'),
  publishesIn: counter('publishes', 'Frames published by agents.'),
  publishBytesIn: counter('publish_bytes', 'Bytes of the frames published by agents.'),
  deliveriesOut: counter('deliveries', 'Frames handed to the sockets of agents.'),
  deliveryBytesOut: counter('delivery_bytes', 'Bytes of the frames handed to the sockets of agents.'),
  routedNone: counter('routed', ROUTED, { mode: 'none' }),
  routedUnicast: counter('routed', ROUTED, { mode: 'unicast' }),
  routedMulticast: counter('routed', ROUTED, { mode: 'multicast' }),
  routeHits: counter('route_lookups', ROUTES, { result: 'hit' }),
  routeMisses: counter('route_lookups', ROUTES, { result: 'miss' }),
  linkFramesIn: counter('link_frames', LINK_FRAMES, { direction: 'in' }),
  linkBytesIn: counter('link_bytes', LINK_BYTES, { direction: 'in' }),
  linkFramesOut: counter('link_frames', LINK_FRAMES, { direction: 'out' }),
  linkBytesOut: counter('link_bytes', LINK_BYTES, { direction: 'out' }),
  linkStalls: counter('link_stalls', 'Times a link was found full.'),
  holdsTotal: counter('holds', 'Times a connection was held back for those it feeds.'),
  shedsCritical: shed(0),
  shedsHigh: shed(1),
  shedsNormal: shed(2),
  shedsLow: shed(3),
  shedsBackground: shed(4),
  gapFrames: counter('gap_frames', 'Gaps reported to agents.'),
  gapMessages: counter('gap_messages', 'Messages that these gaps stand for, where their number is known.'),
  protocolErrors: counter('protocol_errors', 'Frames and messages refused because they break the protocol.'),
  httpSuccesses: counter('http_requests', HTTP, { status: '2xx' }),
  httpRefusals: counter('http_requests', HTTP, { status: '4xx' }),
  httpFailures: counter('http_requests', HTTP, { status: '5xx' }),
  cpuUser: counter('cpu_seconds', CPU, { mode: 'user' }),
  cpuSystem: counter('cpu_seconds', CPU, { mode: 'system' }),
  restarts: counter('restarts', 'Times a new process took over from one that ended.'),
  mailboxes: gauge('mailboxes', 'Mailboxes.'),
  mailboxMessages: gauge('mailbox_messages', 'Messages in mailboxes, those with consumers included.'),
  mailboxBytes: gauge('mailbox_bytes', 'Bytes of the messages in mailboxes.'),
  mailboxInFlight: gauge('mailbox_in_flight', 'Messages that consumers have and have not acked.'),
  mailboxesPressed: gauge('mailboxes_under_pressure', UNDER_PRESSURE, 'sum', { state: 'pressed' }),
  mailboxesEmergency: gauge('mailboxes_under_pressure', UNDER_PRESSURE, 'sum', { state: 'emergency' }),
  mailboxReturned: counter(
    'mailbox_returned',
    'Messages that went back to their mailbox because the way to their consumer was full.',
  ),
  mailboxDelayed: gauge('mailbox_delayed', 'Messages in mailboxes whose delay is not over.'),
  journalBytes: gauge('journal_bytes', 'Bytes in the files of the journals.'),
  mailboxStored: counter('mailbox_stored', 'Messages journaled, once for each mailbox.'),
  mailboxDeliveries: counter('mailbox_deliveries', 'Messages handed from mailboxes to consumers.'),
  mailboxRedeliveries: counter('mailbox_redeliveries', 'Those of them that somebody may have got before.'),
  mailboxAcks: counter('mailbox_acks', 'Messages acked by consumers.'),
  breakersOpen: gauge('breakers_open', 'Circuit breakers of consumers that are open or half-open.'),
  breakersOpened: counter('breaker_changes', BREAKERS, { state: 'open' }),
  breakersHalfOpened: counter('breaker_changes', BREAKERS, { state: 'half-open' }),
  breakersClosed: counter('breaker_changes', BREAKERS, { state: 'closed' }),
  mailboxExpired: counter('mailbox_expired', 'Messages taken out of mailboxes because their time was over.'),
  deadLetters: gauge('dead_letters', 'Dead letters that are kept.'),
  deadLetterBytes: gauge('dead_letter_bytes', 'Bytes of the dead letters that are kept.'),
  diedNetworkTimeout: died(0),
  diedAgentUnavailable: died(1),
  diedMessageCorruption: died(2),
  diedCircuitBreaker: died(3),
  diedPoisonMessage: died(4),
  diedUnknownError: died(5),
  deadLettersTooMany: counter('dead_letters_dropped', DROPPED, { reason: 'size' }),
  deadLettersTooOld: counter('dead_letters_dropped', DROPPED, { reason: 'age' }),
  deadLettersReplayed: counter('dead_letters_replayed', 'Dead letters that were replayed.'),
  deadLettersPurged: counter('dead_letters_purged', 'Dead letters that were purged.'),
  journalUnread: gauge(
    'journal_unread',
    'Share of its journal that a starting shard has still to read, 0 to 1.',
  ),
  historyBytes: gauge('history_bytes', 'Bytes of the messages that are kept for replay.'),
  historyAge: gauge('history_oldest_seconds', 'Age of the oldest message that is kept for replay.', 'max'),
  historyMessages: gauge('history_messages', 'Messages that are kept for replay.'),
  replays: counter(
    'replays',
    'Subscriptions that began with messages of the past, and agents that took them up again.',
  ),
  replayed: counter('replayed', 'Messages of the past that were put in line for agents.'),
  retained: gauge('retained', 'Topics whose last value is kept for those who subscribe later.', 'max'),
  retainedBytes: gauge('retained_bytes', 'Bytes of the shared memory that these take.'),
  nodes: gauge('nodes', 'Other nodes with which there is a link.'),
  nodeFramesIn: counter('node_frames', NODE_FRAMES, { direction: 'in' }),
  nodeBytesIn: counter('node_bytes', NODE_BYTES, { direction: 'in' }),
  nodeFramesOut: counter('node_frames', NODE_FRAMES, { direction: 'out' }),
  nodeBytesOut: counter('node_bytes', NODE_BYTES, { direction: 'out' }),
  nodeBatchesOut: counter('node_batches', 'Batches handed to the links with other nodes.'),
};

/** In the order of the cells. */
export const COUNTER_NAMES = (Object.keys(C) as CounterName[]).sort((a, b) => C[a] - C[b]);

/** The cells of the gauges: what a new incarnation begins at zero. */
export const GAUGE_CELLS: readonly number[] = COUNTER_NAMES.filter(
  (name) => METRICS[name].kind === 'gauge',
).map((name) => C[name]);

/** The value of one counter or gauge for the whole node, out of the workers' `counters` arrays. 0 without workers. */
export function mergeCounter(name: CounterName, workers: readonly Float64Array[]): number {
  if (workers.length === 0) return 0;
  const values = workers.map((counters) => counters[C[name]]);
  const { merge } = METRICS[name];
  if (merge === 'max') return Math.max(...values);
  if (merge === 'min') return Math.min(...values);
  return values.reduce((sum, value) => sum + value, 0);
}
