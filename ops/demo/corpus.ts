/** The text that the demo works on, and how it is cut into tasks. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';

/** Bytes of all files, at most. */
export const MAX_CORPUS = 20 * 1024 * 1024;

/** Bytes of the text of one task, at most: with topic and headers it has to fit into a frame of 64 KiB. */
export const MAX_TASK = 48 * 1024;

export interface CorpusFile {
  /** Below the corpus's folder. */
  path: string;
  text: string;
}

export interface Corpus {
  files: CorpusFile[];
  /** As UTF-8. */
  bytes: number;
  /** Files that were left out: they would go beyond the bound, or cannot be cut into tasks. */
  leftOut: number;
}

export interface Task {
  /** From 0, in the order of the corpus. */
  number: number;
  path: string;
  text: string;
}

function isText(path: string): boolean {
  return path.endsWith('.md') || /^licen[cs]e/i.test(basename(path));
}

/**
 * The `*.md` and `LICENSE*` files below a folder, in the order of their paths. Throws what the file system throws.
 * `most`: bytes in all, `mostTask`: bytes of a task.
 */
export function readCorpus(folder: string, most = MAX_CORPUS, mostTask = MAX_TASK): Corpus {
  const corpus: Corpus = { files: [], bytes: 0, leftOut: 0 };
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(isText).sort();
  for (const path of paths) {
    const whole = join(folder, path);
    const status = statSync(whole, { throwIfNoEntry: false });
    if (status === undefined || !status.isFile()) continue;
    if (corpus.bytes + status.size > most) {
      corpus.leftOut++;
      continue;
    }
    const text = readFileSync(whole, 'utf8');
    if (cut(text, mostTask) === null) corpus.leftOut++;
    else {
      corpus.files.push({ path, text });
      corpus.bytes += Buffer.byteLength(text);
    }
  }
  return corpus;
}

export function tasksOf({ files }: Corpus, mostTask = MAX_TASK): Task[] {
  const tasks: Task[] = [];
  for (const { path, text } of files) {
    for (const part of cut(text, mostTask) ?? []) tasks.push({ number: tasks.length, path, text: part });
  }
  return tasks;
}

/**
 * The text in parts of at most `most` bytes as UTF-8: whole lines, and only a line that is longer is cut behind a
 * blank. Null when there is none in time: a word must not be cut.
 */
export function cut(text: string, most: number): string[] | null {
  const parts: string[] = [];
  let start = 0;
  while (start < text.length) {
    const limit = fitting(text, start, most);
    const end = limit === text.length ? limit : lastBreak(text, start, limit);
    if (end < 0) return null;
    parts.push(text.slice(start, end));
    start = end;
  }
  return parts;
}

/** The greatest index up to which `text` from `start` on has at most `most` bytes as UTF-8. */
function fitting(text: string, start: number, most: number): number {
  let bytes = 0;
  let at = start;
  while (at < text.length) {
    const point = text.codePointAt(at) as number;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (bytes > most) break;
    at += point < 0x10000 ? 1 : 2;
  }
  return at;
}

/** Behind the last line end in `text[start, limit)`, or else behind the last blank; -1 without either. */
function lastBreak(text: string, start: number, limit: number): number {
  const line = text.lastIndexOf('\n', limit - 1);
  if (line >= start) return line + 1;
  for (let at = limit - 1; at >= start; at--) {
    if (/\s/.test(text[at])) return at + 1;
  }
  return -1;
}
