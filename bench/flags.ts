/** Flags of the command line: how they are read, and those that several scenarios share. */
import { InvalidArgumentError, Option } from 'commander';
import { LEAST_PAYLOAD } from './roles/payload.js';

const MAX_PAYLOAD = 60_000;
/** A day. */
const MAX_MINUTES = 1440;

export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

export function integers(least: number, most: number): (text: string) => number[] {
  return (text) => text.split(',').map((part) => integer(least, most)(part));
}

/** A list of some of `known`. */
export function names<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) =>
    text.split(',').map((part) => {
      const name = known.find((one) => one === part);
      if (name === undefined) throw new InvalidArgumentError(`It must be a list of ${known.join(', ')}.`);
      return name;
    });
}

function seconds(least: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,6}(\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= 86_400) return value;
    throw new InvalidArgumentError(`It must be seconds, from ${least} to 86,400.`);
  };
}

export function minutes(text: string): number {
  const value = /^\d{1,5}(\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
  if (value > 0 && value <= MAX_MINUTES) return value;
  throw new InvalidArgumentError(`It must be minutes, more than 0 and at most ${MAX_MINUTES}.`);
}

export function runsFlag(): Option {
  return new Option('--runs <n>', 'runs of each case, each with processes of its own')
    .argParser(integer(1, 1000))
    .default(5);
}

/** What each scenario takes. One that has a flag of the same name has its own. */
export function commonFlags(): Option[] {
  return [
    runsFlag(),
    new Option('--seconds <s>', "measured time of one run (default: the scenario's own)").argParser(
      seconds(0.05),
    ),
    new Option('--warmup <s>', "discarded before it (default: the scenario's own)").argParser(seconds(0)),
    new Option('--shards <n>', 'of the broker (default: one per core)').argParser(integer(1, 60)),
    new Option('--links <kind>', 'between shards')
      .choices(['auto', 'shared-memory', 'unix-socket'])
      .default('auto'),
  ];
}

/** Of the gate, which is no scenario. */
export function gateFlags(): Option[] {
  const forBoth = commonFlags().filter(({ long }) => ['--seconds', '--warmup', '--shards'].includes(long!));
  return [
    new Option('--base <commit>', 'what the working tree is compared with').makeOptionMandatory(),
    new Option('--tolerance <percent>', 'by which a figure may be worse')
      .argParser(integer(0, 1000))
      .default(10),
    new Option('--pairs <n>', 'runs of both, in turn').argParser(integer(1, 100)).default(4),
    ...forBoth,
  ];
}

export function payloadFlag(): Option {
  return new Option('--payload <bytes>', 'size of the messages')
    .argParser(integer(LEAST_PAYLOAD, MAX_PAYLOAD))
    .default(64);
}

/** One case for each size. */
export function payloadsFlag(): Option {
  return new Option('--payload <list>', 'sizes of the messages in bytes, a case for each')
    .argParser(integers(LEAST_PAYLOAD, MAX_PAYLOAD))
    .default([64], '64');
}
