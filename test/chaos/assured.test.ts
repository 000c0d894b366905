import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { LANES } from '../../lib/wire/frame.js';
import { Random } from '../fuzz/random.js';
import { nameOn, until } from '../integration/broker/node.js';
import type { AgentReport, AgentSpec, Role } from './agent-program.js';
import { AgentProcess } from './agents.js';
import { Broker } from './broker.js';
import { chainOf, clock, History, numberOf } from './history.js';

/** How long the faults go on; each is done once at least. With more than these few each has so long for itself, too. */
const SECONDS = Number(process.env.FLOWBUS_CHAOS_SECONDS ?? 2);
const IS_SOAK = SECONDS >= 10;
/** To have the same order of faults again. */
const SEED = Number(process.env.FLOWBUS_CHAOS_SEED ?? Date.now() % 1_000_000);
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
/** Unacked messages of one member of the group. */
const PREFETCH = 16;
const FAULTS = [
  'kill shard 0',
  'kill shard 1',
  'kill the broker',
  'kill the receiver',
  'kill a member',
  'kill a publisher',
  'stop a member',
] as const;
type Fault = (typeof FAULTS)[number];

describe('assured delivery', function () {
  this.timeout(SECONDS * 1000 + 120_000);
  let dataDir: string;
  let broker: Broker;
  const agents: AgentProcess[] = [];

  beforeEach(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-assured-'));
    broker = await Broker.start({ dataDir });
  });
  afterEach(async () => {
    await Promise.all(agents.splice(0).map((agent) => agent.kill()));
    await broker.stop();
    rmSync(dataDir, { recursive: true });
  });

  it(`loses nothing when shards, broker, consumers and publishers are killed or stopped (seed ${SEED})`, () =>
    holds(FAULTS));
  for (const fault of IS_SOAK ? FAULTS : []) {
    it(`loses nothing in ${SECONDS} s of: ${fault} (seed ${SEED})`, () => holds([fault]));
  }

  /** Publishes, consumes, and lets the faults happen in an order that the seed gives. */
  async function holds(faults: readonly Fault[]): Promise<void> {
    const own = new History();
    const shared = new History();
    const done: Record<string, number> = {};
    const historyOf = (id: string) => (id.includes(':own:') ? own : shared);
    const onReport = (report: AgentReport): void => {
      if ('got' in report) (report.shared ? shared : own).receive(report.got);
      else if ('acked' in report) {
        historyOf(report.acked).acked.add(report.acked);
        done[chainOf(report.acked)] = numberOf(report.acked);
      }
    };
    const agent = async (agentId: string, roles: () => Role[]): Promise<AgentProcess> => {
      const spec = (): AgentSpec => ({ url: broker.url, agentId, roles: roles() });
      const begun = new AgentProcess(spec, onReport);
      agents.push(begun);
      await begun.start();
      return begun;
    };

    const receiverId = nameOn(1, 'receiver');
    const receiver = await agent(receiverId, () => [{ kind: 'receiver' }]);
    const member: Role = { kind: 'member', group: 'crew', pattern: 'job.*', prefetch: PREFETCH };
    const members = [
      await agent(nameOn(0, 'member'), () => [member]),
      await agent(nameOn(1, 'member'), () => [member]),
    ];
    const publishing = (): Role[] => [
      { kind: 'publisher', to: { agent: receiverId }, lanes: [...LANES], done },
      { kind: 'publisher', to: { topic: 'job.x', keys: KEYS }, lanes: ['normal', 'background'], done },
    ];
    const publishers = [
      await agent(nameOn(0, 'publisher'), publishing),
      await agent(nameOn(1, 'publisher'), publishing),
    ];

    const random = new Random(SEED);
    const again = async (victim: AgentProcess): Promise<void> => {
      await victim.kill();
      await victim.start();
    };
    const acts: Record<Fault, () => Promise<void>> = {
      'kill shard 0': () => broker.killShard(0),
      'kill shard 1': () => broker.killShard(1),
      'kill the broker': async () => {
        await broker.kill();
        await broker.begin();
      },
      'kill the receiver': () => again(receiver),
      'kill a member': () => again(random.pick(members)),
      'kill a publisher': () => again(random.pick(publishers)),
      'stop a member': async () => {
        const victim = random.pick(members);
        const from = clock();
        process.kill(victim.pid, 'SIGSTOP');
        // Beyond the lease of 2 s: what it holds goes to the other one.
        await pause(2500);
        shared.resumed(victim.pid, from);
        process.kill(victim.pid, 'SIGCONT');
      },
    };

    const begun = performance.now();
    let left: Fault[] = [...faults];
    const log: string[] = [];
    while (left.length > 0) {
      const before = [own.acked.size, shared.acked.size, own.receipts.length, shared.receipts.length];
      await until(
        () => `work to be done after ${log.join(', ')}`,
        () =>
          own.acked.size > before[0] + 25 &&
          shared.acked.size > before[1] + 25 &&
          own.receipts.length > before[2] + 25 &&
          shared.receipts.length > before[3] + 25,
        30_000,
      );
      const fault = random.pick(left);
      left = left.filter((other) => other !== fault);
      if (left.length === 0 && performance.now() < begun + SECONDS * 1000) left = [...faults];
      log.push(fault);
      await acts[fault]();
    }
    await Promise.all(publishers.map((publisher) => publisher.kill()));
    // However slow the machine: as long as something comes.
    for (let missing = own.missing.length + shared.missing.length; missing > 0; ) {
      const before = missing;
      await until(
        () => `any of ${missing} that were acked to come, after ${log.join(', ')}`,
        () => {
          missing = own.missing.length + shared.missing.length;
          return missing < before;
        },
        15_000,
      );
    }
    own.check('one-consumer');
    shared.check('by-key');
  }
});
