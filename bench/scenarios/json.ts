/** The text door: one publisher at full speed to one subscriber, one of them or both in JSON over a plain WebSocket. */
import { Option } from 'commander';
import type { ClientName } from '../buses/bus.js';
import { integer, payloadFlag } from '../flags.js';
import { type CommonOptions, type FigureShape, type Result, repeat, type Scenario } from '../scenario.js';
import { onStage, settingOf } from '../stage.js';
import { runLoad } from './throughput.js';

const SECONDS = 3;
const WARMUP = 2;

interface JsonOptions extends CommonOptions {
  payload: number;
  burst: number;
}

interface Pair {
  name: string;
  publishers: ClientName;
  subscribers: ClientName;
}

const PAIRS: readonly Pair[] = [
  { name: 'JSON→JSON', publishers: 'flowbus-json', subscribers: 'flowbus-json' },
  { name: 'SDK→JSON', publishers: 'flowbus', subscribers: 'flowbus-json' },
  { name: 'JSON→SDK', publishers: 'flowbus-json', subscribers: 'flowbus' },
];

const FIGURES: readonly FigureShape[] = [
  { name: 'delivered', unit: 'per second' },
  { name: 'published', unit: 'per second' },
  { name: 'cpuPerDelivery', unit: 'ns' },
  { name: 'acrossShards', unit: 'count' },
];

function measure(pair: Pair, given: JsonOptions, tell: (line: string) => void): Promise<Result> {
  const options = { ...given, seconds: given.seconds ?? SECONDS, warmup: given.warmup ?? WARMUP };
  const { payload, burst } = options;
  const { name, ...speak } = pair;
  const what = {
    scenario: 'json',
    case: name,
    conditions: {
      'payload characters': payload,
      'messages per burst': burst,
      'warm-up s': options.warmup,
      'measured s': options.seconds,
      shards: options.shards ?? 'one per core',
    },
    figures: FIGURES,
  };
  return repeat(what, options.runs, tell, (index) =>
    onStage(settingOf('flowbus', options), (stage) =>
      runLoad(stage, { publishers: 1, subscribers: 1, payload, burst, topics: 1, speak }, options, index),
    ),
  );
}

export const json: Scenario = {
  name: 'json',
  summary: 'publish and subscribe in JSON over a plain WebSocket, and mixed with the SDK',
  usual: false,
  flags: [
    payloadFlag(),
    new Option('--burst <n>', 'messages published per turn of the event loop')
      .argParser(integer(1, 100_000))
      .default(256),
  ],
  async run(options: JsonOptions, tell) {
    const results: Result[] = [];
    for (const pair of PAIRS) results.push(await measure(pair, options, tell));
    return results;
  },
};
