/** The link between two nodes by itself: libp2p's stream with numbers and acknowledgements around it, without a broker at either end. */
import { randomBytes } from 'node:crypto';
import { Option } from 'commander';
import { now, sleep } from '../clock.js';
import { integer, payloadFlag } from '../flags.js';
import { Role } from '../role.js';
import type { NodeOperations } from '../roles/node.js';
import {
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Result,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals } from '../stage.js';

const SECONDS = 3;
const WARMUP = 1;
const PACED = 10_000;
/** Beyond the length of the run, how long the last paced message may take (ms). */
const PATIENCE = 60_000;

interface NodeLinkOptions extends CommonOptions {
  payload: number;
  rate: number;
}

type Node = Role<NodeOperations>;

/** Two linked nodes for `run`, which end whatever comes. */
async function withNodes(
  secret: string | null,
  payload: number,
  run: (sender: Node, receiver: Node) => Promise<Run>,
): Promise<Run> {
  const nodes: Node[] = [];
  try {
    let join: string[] = [];
    for (const node of ['sender', 'receiver']) {
      const role = await Role.start<NodeOperations>('node');
      nodes.push(role);
      join = await role.ask('open', { node, join, secret, payload });
    }
    for (const node of nodes) await node.ask('linked', null);
    return await run(nodes[0], nodes[1]);
  } finally {
    await Promise.all(nodes.map((node) => node.end()));
  }
}

async function run(sender: Node, receiver: Node, { rate, ...options }: NodeLinkOptions): Promise<Run> {
  const warmup = (options.warmup ?? WARMUP) * 1000;
  const length = (options.seconds ?? SECONDS) * 1000;
  const marks = () => Promise.all([sender.ask('mark', null), receiver.ask('mark', null)]);
  const counts = async () => [(await receiver.ask('mark', null)).count];
  await sender.ask('flood', null);
  await sleep(warmup);
  const [senderBefore, before] = await marks();
  await sleep(length);
  const [senderAfter, after] = await marks();
  await arrivals(await sender.ask('finish', null), counts);

  const begin = now() + 100;
  const middle = begin + warmup;
  const paced = async (from: number, until: number) => {
    const sent = await sender.ask('pace', { rate, from, until }, until - now() + PATIENCE);
    return { sent, received: await arrivals(sent, counts) };
  };
  await paced(begin, middle);
  for (const node of [sender, receiver]) await node.ask('forget', null);
  const from = now() + 100;
  const { sent, received } = await paced(from, from + length);
  const { p50, p95, p99 } = (await receiver.ask('times', null)).delivered;
  const { late } = await sender.ask('times', null);
  const { disordered } = await receiver.ask('mark', null);
  const messages = after.count - before.count;
  return {
    values: {
      messages: (messages / (after.at - before.at)) * 1000,
      cpuSender: ((senderAfter.cpu - senderBefore.cpu) * 1e6) / messages,
      cpuReceiver: ((after.cpu - before.cpu) * 1e6) / messages,
      p50,
      p95,
      p99,
      sentLateP50: late.p50,
    },
    account: accountOf(sent, received),
    notes: disordered === 0 ? [] : [`${disordered} messages came out of order`],
  };
}

const FIGURES: readonly FigureShape[] = [
  { name: 'messages', unit: 'per second', goal: { value: 500_000, at: 'least' } },
  { name: 'cpuSender', unit: 'ns' },
  { name: 'cpuReceiver', unit: 'ns' },
  { name: 'p50', unit: 'us', goal: { value: 500, at: 'most' } },
  { name: 'p95', unit: 'us', goal: { value: 1000, at: 'most' } },
  { name: 'p99', unit: 'us' },
  { name: 'sentLateP50', unit: 'us' },
];

export const nodeLink: Scenario = {
  name: 'node-link',
  summary:
    'the link between two nodes alone: messages one way as fast as it goes, then paced; with a secret too',
  usual: false,
  flags: [
    // A 64-byte payload with a header of 40.
    payloadFlag().default(104),
    new Option('--rate <messages>', 'paced messages a second')
      .argParser(integer(1, 1_000_000))
      .default(PACED),
  ],
  async run(options: NodeLinkOptions, tell) {
    const results: Result[] = [];
    for (const secret of [null, randomBytes(16).toString('hex')]) {
      const what = {
        scenario: 'node-link',
        case: secret === null ? 'noise' : 'noise and secret',
        conditions: {
          'message bytes': options.payload,
          'paced per second': options.rate,
          'warm-up s': options.warmup ?? WARMUP,
          'measured s': options.seconds ?? SECONDS,
        },
        figures: FIGURES,
      };
      results.push(
        await repeat(what, options.runs, tell, () =>
          withNodes(secret, options.payload, (sender, receiver) => run(sender, receiver, options)),
        ),
      );
    }
    return results;
  },
};
