/**
 * Every setting of the broker, once. Flags, environment variables, the YAML file, `--help`, the type
 * `BrokerConfig` and the table in ops/README.md all come from here.
 */
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { DEFAULT_SHARES } from '../queues/entry-lanes.js';
import type { Kind } from './kinds.js';
import * as kind from './kinds.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;

/** A sender number has 6 bits for the worker; the mesh worker and a few spare ones need slots too. */
export const MAX_SHARDS = 60;
/** Enough to make two nodes of one cluster with the same random name unlikely: 36^6 = 2.2 thousand million. */
const NODE_NAME_SPACE = 36 ** 6;
/** HS256 wants a key as long as its hash (RFC 7518, 3.2). */
export const MIN_SECRET_BYTES = 32;

interface Setting<V, T extends V | undefined> {
  readonly kind: Kind<V>;
  readonly fallback: () => T;
  /** The default in words, where the value alone would not say it. */
  readonly fallbackText?: string;
  readonly description: string;
  /** Never printed. */
  readonly secret: boolean;
}

function setting<V>(kind: Kind<V>, fallback: V, description: string): Setting<V, V> {
  return { kind, fallback: () => fallback, description, secret: false };
}

function computed<V>(
  kind: Kind<V>,
  fallback: () => V,
  fallbackText: string,
  description: string,
): Setting<V, V> {
  return { kind, fallback, fallbackText, description, secret: false };
}

function optional<V>(kind: Kind<V>, description: string, secret = false): Setting<V, V | undefined> {
  return { kind, fallback: () => undefined, fallbackText: 'none', description, secret };
}

const shardsPerMachine = (): number => Math.max(1, Math.min(MAX_SHARDS, availableParallelism()));
const randomNode = (): string => `node-${randomInt(NODE_NAME_SPACE).toString(36).padStart(6, '0')}`;

/*
 * The ranges keep these true without further checks: one frame of maxPayload fits in window (64 KiB <= 64 KiB),
 * and backlog takes what a full window brings (each connection's backlog is at least two frames).
 */
const SETTINGS = {
  host: setting(
    kind.host(),
    '127.0.0.1',
    'address to listen on; beyond this machine only with authentication',
  ),
  port: setting(kind.integer(0, 65_535), 8081, 'TCP port of all doors; 0 takes a free one'),
  shards: computed(
    kind.integer(1, MAX_SHARDS),
    shardsPerMachine,
    'one per core',
    'shard workers, each a process',
  ),
  node: computed(
    kind.nodeName(),
    randomNode,
    'random, node-xxxxxx; with dataDir the same at each start',
    'name of this node, unique in its cluster',
  ),
  dataDir: optional(kind.path(), 'directory for what must survive a restart; created when missing'),
  fsync: setting(
    kind.choice(['always', 'interval', 'never']),
    'interval',
    'when journals are flushed to the disk: before each ack, every second, or when the system likes; all survive a killed process, always a loss of power too',
  ),
  journalSize: setting(
    kind.size(16 * MiB, 64 * 1024 * MiB),
    512 * MiB,
    'messages that the mailboxes of the node hold, in memory and on the disk, where twice as much and 64 MiB for each shard may lie',
  ),
  mailboxMessages: setting(kind.integer(1, 100_000_000), 1_000_000, 'messages that a mailbox holds'),
  mailboxSize: setting(
    kind.size(64 * KiB, 64 * 1024 * MiB),
    256 * MiB,
    'messages that a mailbox holds, in bytes',
  ),
  mailboxAge: setting(
    kind.duration(SECOND, 365 * DAY),
    7 * DAY,
    'how long a mailbox keeps a message, and is kept itself while it is empty and nobody consumes from it',
  ),
  lease: setting(
    kind.duration(100, 60 * MINUTE),
    30 * SECOND,
    'how long a consumer may take for a message before another one gets it',
  ),
  retryBase: setting(
    kind.duration(1, 60 * MINUTE),
    100,
    'wait before a message that failed is tried again; doubled with each failure, and half of it by chance',
  ),
  retryCap: setting(kind.duration(1, 24 * 60 * MINUTE), 30 * SECOND, 'the longest such wait'),
  breakerFailures: setting(
    kind.integer(0, 1000),
    5,
    'failures among twice as many outcomes that open the circuit breaker of a consumer; 0 for no breakers',
  ),
  breakerWindow: setting(
    kind.duration(SECOND, DAY),
    5 * MINUTE,
    'how long ago a failure may be to count for that',
  ),
  breakerCoolDown: setting(
    kind.duration(100, 60 * MINUTE),
    5 * SECOND,
    'how long an open breaker keeps messages from its consumer before it tries it with one; doubled up to 32 times as long while that fails',
  ),
  laneWeights: setting<readonly number[]>(
    kind.weights(1000),
    DEFAULT_SHARES.weights,
    'messages that each lane of a mailbox may hand out in a round, critical first',
  ),
  laneBoost: setting(
    kind.integer(1, 100),
    DEFAULT_SHARES.boost,
    'factor by which low and background get more while the mailbox is over 80 % full, until it is at 60 %',
  ),
  maxAttempts: setting(
    kind.integer(1, 65_535),
    5,
    'attempts at a message of a mailbox before it becomes a dead letter',
  ),
  poisonAfter: setting(
    kind.integer(0, 10),
    3,
    'different consumers that may fail at a message before it is taken for poison and becomes a dead letter at once; 0 for any number',
  ),
  deadLetterSize: setting(
    kind.size(16 * MiB, 64 * 1024 * MiB),
    64 * MiB,
    'dead letters that the node keeps, in memory and on the disk, where twice as much and 5 MiB for each shard may lie; the oldest go first',
  ),
  deadLetterAge: setting(kind.duration(SECOND, 365 * DAY), 30 * DAY, 'how long dead letters are kept'),
  history: setting<readonly string[]>(
    kind.patterns(),
    [],
    'patterns of the topics whose messages are kept in memory for subscribe with replay; ** keeps all',
  ),
  historySize: setting(
    kind.size(MiB, 512 * MiB),
    16 * MiB,
    'shared memory for them, shared out to the shards; the oldest give way',
  ),
  retainedSize: setting(
    kind.size(256 * KiB, 256 * MiB),
    2 * MiB,
    'shared memory for the last values that were published with retain, shared out to the shards; a good third of it holds values, the rest is room to move',
  ),
  links: setting(
    kind.choice(['auto', 'shared-memory', 'unix-socket']),
    'auto',
    'how the workers of the node reach each other; auto takes shared memory where it works',
  ),
  pinShards: setting(kind.boolean(), false, 'keep each shard on a core of its own, where the system can'),
  join: setting<readonly string[]>(
    kind.addresses(),
    [],
    'other nodes of the cluster that this one is to be part of; one that is up is enough, and those that are not are tried for ever',
  ),
  mdns: setting(
    kind.boolean(),
    false,
    'find the other nodes of the cluster on the local network by multicast DNS',
  ),
  meshPort: {
    ...optional(
      kind.integer(0, 65_535),
      'TCP port for other nodes; 0 takes a free one. Set, or with join or mdns, it makes this node part of a cluster',
    ),
    fallbackText: '1000 above port',
  },
  meshHost: setting(
    kind.host(),
    '127.0.0.1',
    'address to listen on for other nodes; beyond this machine only with meshSecret',
  ),
  meshAnnounce: setting<readonly string[]>(
    kind.addresses(),
    [],
    'where other nodes reach this one, when that is not where it listens',
  ),
  meshSecret: optional(
    kind.secret(MIN_SECRET_BYTES),
    'key that all nodes of the cluster share, and nobody else; other users see flags, so prefer the file',
    true,
  ),
  meshSecretFile: optional(kind.path(), 'file that holds meshSecret; the end of its last line is left out'),
  meshAllow: setting<readonly string[]>(
    kind.peerIds(),
    [],
    'nodes that may join; without it all that have the secret',
  ),
  maxPayload: setting(
    kind.size(16 * KiB, 64 * KiB),
    64 * KiB,
    'largest frame, and largest batch, that an agent may send or gets',
  ),
  window: setting(kind.size(64 * KiB, 64 * MiB), MiB, 'publish credit of a connection'),
  backlog: setting(
    kind.size(128 * KiB, 1024 * MiB),
    4 * MiB,
    'live messages that may wait for a slow connection before it sheds',
  ),
  stallLimit: setting(
    kind.duration(0, 10 * MINUTE),
    5 * SECOND,
    'how long a slow connection may hold back those who feed it',
  ),
  heartbeatInterval: setting(
    kind.duration(100, 60 * MINUTE),
    15 * SECOND,
    'heartbeat interval of agents that name none',
  ),
  resumeWindow: setting(
    kind.duration(0, 10 * MINUTE),
    5 * SECOND,
    'how long the session of a lost connection is kept; 0 ends it at once',
  ),
  helloTimeout: setting(kind.duration(10, 10 * MINUTE), 5 * SECOND, 'time for the hello after the upgrade'),
  upgradeTimeout: setting(
    kind.duration(10, 10 * MINUTE),
    2 * SECOND,
    'time for the upgrade request to be complete',
  ),
  maxConnections: setting(kind.integer(1, 1_000_000), 100_000, 'connections of the node'),
  maxSubscriptions: setting(kind.integer(1, 1_000_000), 10_000, 'subscriptions of one agent'),
  maxTopics: setting(
    kind.integer(1024, 1 << 20),
    1 << 17,
    'topics to which a shard gives an id; beyond that they travel spelled out',
  ),
  drainTimeout: setting(
    kind.duration(0, 60 * MINUTE),
    10 * SECOND,
    'time to say goodbye to the agents and to flush at SIGTERM',
  ),
  verifyChecksums: setting(kind.boolean(), false, 'check the checksum of each frame at the door'),
  authSecret: optional(
    kind.secret(MIN_SECRET_BYTES),
    'key of the tokens that agents must show; other users see flags, so prefer the file',
    true,
  ),
  authSecretFile: optional(kind.path(), 'file that holds authSecret; the end of its last line is left out'),
  allowUnauthenticated: setting(
    kind.boolean(),
    false,
    'let everybody who reaches the port in, also when host is beyond this machine',
  ),
  allowedOrigins: setting<readonly string[]>(
    kind.origins(),
    [],
    'web pages that may connect from a browser, beside those of this machine; without tokens also the hosts that requests may name',
  ),
  logLevel: setting(
    kind.choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    'info',
    'least severe level that is logged',
  ),
  logFormat: setting(
    kind.choice(['auto', 'json', 'pretty']),
    'auto',
    'lines for people or JSON; auto writes JSON unless on a terminal',
  ),
};

type Settings = typeof SETTINGS;
export type ConfigName = keyof Settings;

/**
 * The broker's configuration: complete, validated, frozen, and nothing but JSON. Sizes are bytes, durations
 * milliseconds. Loading has put the content of `authSecretFile` into `authSecret` and left the former undefined, and so with `meshSecretFile`.
 */
export type BrokerConfig = { readonly [K in ConfigName]: ReturnType<Settings[K]['fallback']> };

/** One setting, as flags, documents and the loader see it. */
export interface ConfigKey {
  readonly name: ConfigName;
  /** `--max-payload` */
  readonly flag: string;
  /** `FLOWBUS_MAX_PAYLOAD` */
  readonly env: string;
  readonly kind: Kind<unknown>;
  readonly fallback: () => unknown;
  /** The default as the documents write it. */
  readonly fallbackText: string;
  readonly description: string;
  readonly secret: boolean;
}

function words(name: string): string[] {
  return name.split(/(?=[A-Z])/).map((word) => word.toLowerCase());
}

function configKey(name: ConfigName): ConfigKey {
  // The formatter of a kind takes exactly what its own schema yields, which the table has already tied together.
  const entry = SETTINGS[name] as Setting<unknown, unknown>;
  return {
    name,
    flag: `--${words(name).join('-')}`,
    env: `FLOWBUS_${words(name).join('_').toUpperCase()}`,
    kind: entry.kind,
    fallback: entry.fallback,
    fallbackText: entry.fallbackText ?? entry.kind.format(entry.fallback()),
    description: entry.description,
    secret: entry.secret,
  };
}

/** All settings, in the order of the documents. */
export const CONFIG_KEYS: readonly ConfigKey[] = (Object.keys(SETTINGS) as ConfigName[]).map(configKey);
