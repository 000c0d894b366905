/** What the demo found, as lines for people. */
import type { Output } from '../cli/output.js';
import type { Share } from './coordinator.js';
import type { CrashReport } from './crash.js';

const SHARES_PER_LINE = 4;

export interface DemoReport {
  /** The result is that of a single process. */
  ok: boolean;
  /** In what it differs, if it does. */
  difference: string | null;
  node: { url: string; shards: number; links: string };
  corpus: { folder: string; files: number; bytes: number; leftOut: number; tasks: number };
  workers: number;
  processes: number;
  totals: { words: number; different: number; lines: number };
  top: [word: string, times: number][];
  shares: Share[];
  /** What came of the second act; null before it. */
  crash: CrashReport | null;
  retries: number;
  setAside: string[];
  /** What the monitor saw. */
  statuses: { messages: number; workers: number };
  /** Seconds: until all agents were there, of the work, and of the same work in one process. */
  seconds: { start: number; work: number; single: number };
}

function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

export function startLines({ node, corpus, workers, processes }: DemoReport, output: Output): string[] {
  const size = (corpus.bytes / (1024 * 1024)).toFixed(1);
  return [
    output.bold('flowbus demo: agents count the words of a corpus'),
    `  broker   ${node.url}, ${node.shards} shards, links: ${node.links}`,
    `  corpus   ${grouped(corpus.files)} files, ${size} MiB, ${grouped(corpus.tasks)} tasks, from ${corpus.folder}`,
    `  agents   ${workers} workers in ${processes} ${processes === 1 ? 'process' : 'processes'}, a coordinator, a monitor`,
    '',
  ];
}

export function progressLine(done: number, all: number, workers: number, working: number): string {
  const percent = String(Math.floor((done / all) * 100)).padStart(3);
  const tasks = `${String(done).padStart(String(all).length)} of ${all} tasks`;
  return `  ${percent} %   ${tasks}   ${workers} workers heard of, ${working} working`;
}

function shareLines(shares: readonly Share[], words: number): string[] {
  const width = Math.max(...shares.map(({ worker }) => worker.length));
  const cells = shares.map(({ worker, tasks, words: own }) => {
    const percent = words === 0 ? 0 : (own / words) * 100;
    return `${worker.padEnd(width)} ${String(tasks).padStart(4)} ${percent.toFixed(1).padStart(5)} %`;
  });
  const lines: string[] = [];
  for (let at = 0; at < cells.length; at += SHARES_PER_LINE)
    lines.push(`  ${cells.slice(at, at + SHARES_PER_LINE).join('    ')}`);
  return lines;
}

function crashLines({ task, worker, process, heir, redelivered, seconds }: CrashReport): string[] {
  return [
    `  once more by mailboxes: ${worker} was killed (kill -9 of process ${process}) in the midst of task ${task}, which ${heir} did;`,
    `  ${redelivered} ${redelivered === 1 ? 'task was' : 'tasks were'} given out again, all counted once, in ${seconds.toFixed(2)} s`,
  ];
}

export function resultLines(report: DemoReport, output: Output): string[] {
  const { totals, top, shares, retries, setAside, statuses, seconds, ok, difference } = report;
  const width = Math.max(0, ...top.map(([, times]) => grouped(times).length));
  const lines = [
    '',
    output.bold('Most frequent words'),
    ...top.map(([word, times]) => `  ${grouped(times).padStart(width)}  ${word}`),
    '',
    output.bold('Workers: tasks answered, share of all words'),
    ...shareLines(shares, totals.words),
    '',
    output.bold('Result'),
    `  ${grouped(totals.words)} words, ${grouped(totals.different)} different, ${grouped(totals.lines)} lines`,
    `  ${seconds.start.toFixed(1)} s to start, ${seconds.work.toFixed(2)} s to work; a single process works ${seconds.single.toFixed(2)} s`,
    `  the monitor saw ${grouped(statuses.messages)} status messages of ${statuses.workers} workers`,
  ];
  if (setAside.length > 0)
    lines.push(
      `  ${retries} tasks went to another worker; set aside for not answering: ${setAside.join(', ')}`,
    );
  else if (retries > 0) lines.push(`  ${retries} tasks went to another worker`);
  if (report.crash !== null) lines.push(...crashLines(report.crash));
  lines.push(
    ok
      ? output.cyan('  OK: the same as a single process computes, both times')
      : `  WRONG: the agents have ${difference} in a single process`,
  );
  return lines;
}
