/** Results as a table for people, and as JSON. */
import type { Machine } from './machine.js';
import type { Figure, Goal, Result, Unit } from './scenario.js';

/** Changes with the shape of the JSON. */
export const REPORT_VERSION = 1;

export interface Report {
  version: typeof REPORT_VERSION;
  machine: Machine;
  results: Result[];
  /** Scenarios that could not be run, and why. */
  refused: string[];
  /** Over all results of flowbus. */
  lost: number;
  repeated: number;
}

export function makeReport(machine: Machine, results: Result[], refused: string[]): Report {
  const own = results.filter(({ bus }) => bus === 'flowbus');
  return {
    version: REPORT_VERSION,
    machine,
    results,
    refused,
    lost: own.reduce((sum, { account }) => sum + account.lost, 0),
    repeated: own.reduce((sum, { account }) => sum + account.repeated, 0),
  };
}

/** Messages were lost or came twice, or a scenario could not be run. A goal that is missed is no failure. */
export function isFailure({ lost, repeated, refused }: Report): boolean {
  return lost + repeated + refused.length > 0;
}

/** What the names of figures mean to a reader. */
const LABELS: Readonly<Record<string, string>> = {
  delivered: 'delivered messages',
  published: 'published messages',
  cpuPerDelivery: 'broker CPU per delivery',
  cpuNear: "of which: the publisher's node",
  cpuNearMesh: 'of that: its mesh worker',
  cpuFar: "of which: the subscriber's node",
  cpuFarMesh: 'of that: its mesh worker',
  oneP50: 'on one node, P50',
  oneP95: 'on one node, P95',
  oneP99: 'on one node, P99',
  addedP50: 'added by the way between the nodes, P50',
  addedP95: 'added by the way between the nodes, P95',
  batch: 'frames per batch from agents',
  acrossShards: 'subscribers on another shard',
  p50: 'latency P50',
  p95: 'latency P95',
  p99: 'latency P99',
  p999: 'latency P99.9',
  max: 'latency max',
  jitter: 'jitter (mean change from one to the next)',
  requests: 'answers',
  cpuPerRequest: 'broker CPU per request',
  latenessP50: 'of which: sent late, P50',
  latenessP99: 'of which: sent late, P99',
  memoryEach: 'broker memory per agent',
  memoryBefore: 'broker memory without agents',
  connects: 'connects',
  cpuPerConnect: 'broker CPU per connect',
  broadcast: 'one message to all',
  broadcastRate: 'deliveries of it',
  heartbeat: 'a heartbeat of all at once, until the last answer',
  heartbeatP50: 'its answers, P50',
  heartbeatP99: 'its answers, P99',
  cpuPerHeartbeat: 'broker CPU for each of them',
  silentCores: 'broker CPU while all are silent',
  heartbeatCores: 'broker CPU while each beats once in 15 s',
  match: 'match (route not cached)',
  matchRatio: 'match, against the fewest',
  cachedText: 'cached route, by topic',
  cachedId: 'cached route, by topic id',
  memoryPerSubscription: 'memory per subscription',
  subscribes: 'subscribes',
  background: 'background delivered meanwhile',
  backgroundShed: 'background shed, told as gaps',
  holds: 'times a publisher was held back',
  records: 'records, one way',
  cpuSender: "sender's CPU per record",
  cpuReceiver: "receiver's CPU per record",
  cores: 'cores that both keep busy',
  refusals: 'times the path was full',
  roundTripP50: 'ping and answer, P50',
  roundTripP99: 'ping and answer, P99',
  memory: 'broker memory',
  memoryStart: 'broker memory at the start',
  memoryEnd: 'broker memory at the end',
  memoryGrowth: 'growth of broker memory',
  p99First: 'latency P99, first third',
  p99Last: 'latency P99, last third',
  cpu: 'broker CPU',
  missing: 'messages not there a second later',
  visitP50: 'visit of an agent, P50',
  visitP99: 'visit of an agent, P99',
  perMessage: 'allocated per message published',
  perBatch: 'allocated per batch from agents',
  collections: 'garbage collections',
  pauses: 'time in them, per second',
  stored: 'stored messages',
  storedP50: 'until the publisher has its ack, P50',
  storedP95: 'until the publisher has its ack, P95',
  storedP99: 'until the publisher has its ack, P99',
  consumed: 'consumed messages',
  cpuPerPublish: 'broker CPU per publish',
  cpuPerConsume: 'broker CPU per message consumed',
  start: 'start of the broker',
  startEmpty: 'start of the broker with nothing stored',
  memoryFull: 'broker memory with all of it',
  deliveredWithout: 'without mailboxes',
  withMailboxes: 'with mailboxes, against without',
  join: 'all agree after a cold join',
  settle: 'and after the last change',
  dead: 'all know of a death',
  back: 'all agree after it came back',
  heal: 'and after a cut was healed',
  quiet: 'sent by a node per second, quiet',
  busy: 'and while records change',
  memoryOfNode: 'memory of a node',
};

export function labelOf(figure: string): string {
  return LABELS[figure] ?? figure;
}

/** At least three significant digits, without an exponent. */
function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 || value === 0 ? 0 : size >= 10 ? 1 : 2);
}

function perSecond(value: number): string {
  if (value >= 1e6) return `${digits(value / 1e6)} M/s`;
  return value >= 1e4 ? `${digits(value / 1e3)} k/s` : `${digits(value)} /s`;
}

function bytes(value: number): string {
  if (Math.abs(value) >= 1024 * 1024) return `${digits(value / (1024 * 1024))} MiB`;
  if (Math.abs(value) < 1024) return `${digits(value)} B`;
  return `${digits(value / 1024)} KiB`;
}

export function formatValue(value: number | null, unit: Unit): string {
  if (value === null) return 'unknown';
  switch (unit) {
    case 'count':
      return Number.isInteger(value) ? String(value) : digits(value);
    case 'ratio':
      return `${digits(value)} ×`;
    case 'per second':
      return perSecond(value);
    case 'ns':
      return `${digits(value)} ns`;
    case 'us':
      return `${digits(value)} µs`;
    case 'ms':
      return `${digits(value)} ms`;
    case 'bytes':
      return bytes(value);
    case 'bytes per minute':
      return `${bytes(value)}/min`;
    case 'cores':
      return `${digits(value)} cores`;
  }
}

export function formatGoal(goal: Goal | null, unit: Unit, met: boolean | null): string {
  if (goal === null) return '';
  const verdict = met === null ? 'unknown' : met ? 'met' : 'NOT MET';
  return `${goal.at === 'least' ? '≥' : '≤'} ${formatValue(goal.value, unit)}  ${verdict}`;
}

function rowOf({ name, unit, median, min, max, goal, met }: Figure): string[] {
  return [
    labelOf(name),
    formatValue(median, unit),
    formatValue(min, unit),
    formatValue(max, unit),
    formatGoal(goal, unit, met),
  ];
}

/** First column to the left, figures to the right, the goal to the left. */
function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 || column === row.length - 1
          ? cell.padEnd(widths[column])
          : cell.padStart(widths[column]),
      )
      .join('   ')
      .trimEnd(),
  );
}

export function machineLines(machine: Machine): string[] {
  const { cpu, cores, memoryBytes, system, node, date, commit, changed } = machine;
  const state = commit === null ? 'unknown' : `${commit}${changed ? ' with changes' : ''}`;
  return [
    `${cpu} · ${cores} ${cores === 1 ? 'core' : 'cores'} · ${bytes(memoryBytes)} · ${system}`,
    `Node ${node} · ${date} · commit ${state}`,
  ];
}

export function resultLines(result: Result): string[] {
  const { account } = result;
  const conditions = Object.entries(result.conditions).map(([name, value]) => `${name}: ${value}`);
  const runs = result.figures[0]?.runs.length ?? 0;
  return [
    `${result.scenario} ${result.case}${result.bus === 'flowbus' ? '' : ` · ${result.bus}`}`.trim(),
    `  ${[...conditions, `runs: ${runs}`].join(' · ')}`,
    ...aligned([['', 'median', 'min', 'max', 'goal'], ...result.figures.map(rowOf)]).map(
      (line) => `  ${line}`,
    ),
    ...(account.expected === 0
      ? []
      : [
          `  messages lost: ${account.lost} of ${account.expected}${account.repeated > 0 ? `, repeated: ${account.repeated}` : ''}`,
        ]),
    ...result.notes.map((note) => `  note: ${note}`),
  ];
}
