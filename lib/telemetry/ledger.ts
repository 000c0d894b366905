/**
 * The drop ledger: every live message that the bus decided not to deliver, counted by topic root (the first
 * level of the topic) and reason. A fixed table in the telemetry block:
 *
 *   rows in use   8 bytes    32-bit count, then 4 unused
 *   roots         256 × 32   UTF-8, zero-padded; row 0 is "(other)"
 *   counts        256 × 16 × 8   one double for each row and reason
 *
 * Rows are never freed: a root keeps its row until the node stops, so its count never runs backwards. Roots come
 * from clients, so the 256th and later ones are counted under "(other)".
 */
export const MAX_ROOTS = 256;
export const MAX_ROOT_BYTES = 32;
/** A topic may bear this root as well; its drops are then counted in the same row. */
export const OTHER_ROOT = '(other)';
const OTHER_ROW = 0;
const REASON_CELLS = 16;

/** Why a message was dropped; the number is its column. */
export const Reason = {
  /** A slow connection shed its lowest lanes. */
  shed: 0,
  /** Its time to live was over. */
  expired: 1,
  /** The link to another worker stayed full. */
  linkFull: 2,
  /** The shard that should have taken it is down. */
  shardDown: 3,
  /** It was for one agent, which is not online. */
  noAgent: 4,
  /** It waited for a session that was not resumed in time. */
  notResumed: 5,
  /** The sender may not publish there. */
  forbidden: 6,
  /** The frame was malformed, or its checksum wrong. */
  invalid: 7,
  /** All backlogs of the shard together were at their bound. */
  backlogGlobal: 8,
  /** It does not fit where it has to go. */
  tooLarge: 9,
  /** The node that should have taken it cannot be reached. */
  nodeDown: 10,
  /** The broker was shutting down. */
  shutdown: 11,
  /** Two readers of a link died over it. */
  poison: 12,
} as const;
export type Reason = (typeof Reason)[keyof typeof Reason];

/** What the reasons are called outside, in the order of their columns. */
export const REASON_NAMES = [
  'shed',
  'expired',
  'link-full',
  'shard-down',
  'no-agent',
  'not-resumed',
  'forbidden',
  'invalid',
  'backlog-global',
  'too-large',
  'node-down',
  'shutdown',
  'poison',
] as const;
export type ReasonName = (typeof REASON_NAMES)[number];

const ROOTS_OFFSET = 8;
const COUNTS_OFFSET = ROOTS_OFFSET + MAX_ROOTS * MAX_ROOT_BYTES;
/** Bytes of one ledger. */
export const LEDGER_BYTES = COUNTS_OFFSET + MAX_ROOTS * REASON_CELLS * 8;

/** The longest beginning of `root` that fits in a row, never half a character; zero-padded to the whole row. */
function rootBytes(root: string): Buffer {
  const bytes = Buffer.alloc(MAX_ROOT_BYTES);
  bytes.write(root);
  return bytes;
}

function rootText(roots: Buffer, row: number): string {
  const start = row * MAX_ROOT_BYTES;
  const limit = start + MAX_ROOT_BYTES;
  let end = start;
  while (end < limit && roots[end] !== 0) end++;
  return roots.toString('utf8', start, end);
}

function readRoots(rows: Int32Array, roots: Buffer): string[] {
  const names: string[] = [];
  // Written after the row itself, and with Atomics, so that a row counted here has its name on every machine.
  const used = Math.min(MAX_ROOTS, Math.max(0, Atomics.load(rows, 0)));
  for (let row = 0; row < used; row++) names.push(rootText(roots, row));
  return names;
}

/** The ledger of one worker; the process that made it for writing is the only one that counts in it. */
export class Ledger {
  private readonly rows: Int32Array;
  private readonly roots: Buffer;
  private readonly counts: Float64Array;
  /** At most MAX_ROOTS. */
  private readonly rowByRoot = new Map<string, number>();

  /** @param offset of LEDGER_BYTES bytes in `buffer`, a multiple of 8; what they count already stays */
  constructor(buffer: ArrayBufferLike, offset: number) {
    this.rows = new Int32Array(buffer, offset, 1);
    this.roots = Buffer.from(buffer, offset + ROOTS_OFFSET, MAX_ROOTS * MAX_ROOT_BYTES);
    this.counts = new Float64Array(buffer, offset + COUNTS_OFFSET, MAX_ROOTS * REASON_CELLS);
  }

  /** Takes the table over for counting, with the rows that it has. */
  open(): void {
    if (Atomics.load(this.rows, 0) === 0) this.append(OTHER_ROOT);
    const names = readRoots(this.rows, this.roots);
    for (let row = 0; row < names.length; row++) this.rowByRoot.set(names[row], row);
  }

  /**
   * The row of a topic root, taken now if it has none. Valid as long as the process: whoever counts often keeps it.
   * Roots of more than 32 bytes share a row with those that begin with the same 32. The empty root stands for a
   * topic that is not known (any more) and shares the row of "(other)".
   */
  row(root: string): number {
    if (root === '') return OTHER_ROW;
    const known = this.rowByRoot.get(root);
    if (known !== undefined) return known;
    const name = rootText(rootBytes(root), 0);
    const row = this.rowByRoot.get(name);
    if (row !== undefined) return row;
    return Atomics.load(this.rows, 0) < MAX_ROOTS ? this.append(name) : OTHER_ROW;
  }

  /** Counts `n` messages that were dropped, in a row from `row()`. */
  add(row: number, reason: Reason, n: number): void {
    this.counts[row * REASON_CELLS + reason] += n;
  }

  /** Counts `n` messages that were dropped. */
  count(root: string, reason: Reason, n: number): void {
    this.add(this.row(root), reason, n);
  }

  /** What was counted so far: rows in the order in which they were taken, each with its counts by reason. */
  read(): LedgerRow[] {
    return readRoots(this.rows, this.roots).map((root, row) => ({
      root,
      counts: Array.from(this.counts.subarray(row * REASON_CELLS, row * REASON_CELLS + REASON_NAMES.length)),
    }));
  }

  private append(root: string): number {
    const row = Atomics.load(this.rows, 0);
    // The whole row: a predecessor may have died with a longer name in it, not yet counted.
    this.roots.set(rootBytes(root), row * MAX_ROOT_BYTES);
    this.rowByRoot.set(root, row);
    Atomics.store(this.rows, 0, row + 1);
    return row;
  }
}

export interface LedgerRow {
  readonly root: string;
  /** By column, as REASON_NAMES. */
  readonly counts: readonly number[];
}

/**
 * One ledger out of those of all workers: at most MAX_ROOTS rows, "(other)" first. When the workers know more
 * roots together, the oldest rows stay and the rest joins "(other)", so that the choice hardly ever changes.
 */
export function mergeLedgers(ledgers: readonly Ledger[]): LedgerRow[] {
  const tables = ledgers.map((ledger) => ledger.read());
  const other = { root: OTHER_ROOT, counts: REASON_NAMES.map(() => 0) };
  const merged = new Map([[OTHER_ROOT, other]]);
  for (let row = 0; row < MAX_ROOTS; row++) {
    for (const table of tables) {
      if (row >= table.length) continue;
      const { root, counts } = table[row];
      let sum = merged.get(root);
      if (sum === undefined) {
        sum = merged.size < MAX_ROOTS ? { root, counts: REASON_NAMES.map(() => 0) } : other;
        merged.set(sum.root, sum);
      }
      for (let reason = 0; reason < counts.length; reason++) sum.counts[reason] += counts[reason];
    }
  }
  return [...merged.values()];
}
