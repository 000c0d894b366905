/**
 * The directory: agentId → where the agent is, what it can do and whether it lives. Pure data: no timers, no
 * clock, no network; `now` is handed in (milliseconds since the Unix epoch, of this machine).
 *
 * Order is by agentId (UTF-16 code units). A cursor is thus just the last agentId looked at, and stays good on
 * any node and after any change: an agent that is there from the first page to the last is seen exactly once.
 */

export type AgentState = 'online' | 'suspect' | 'offline';

/** What other agents may learn of an agent: the record of the wire protocol. */
export interface PublicAgentRecord {
  readonly agentId: string;
  readonly agentType: string;
  /** At most 64 of at most 64 bytes. */
  readonly capabilities: readonly string[];
  readonly node: string;
  readonly shard: number;
  readonly state: AgentState;
  /** When it entered this state (microseconds since the Unix epoch), by the clock of the node that saw it. */
  readonly since: number;
  /** JSON text, at most 4,096 bytes. */
  readonly metadata: string;
}

/** The directory's own record. Never changed in place: a change makes a new one. */
export interface AgentRecord extends PublicAgentRecord {
  /** The session it lives in. Whoever knows it may resume it, so it does not leave the bus. */
  readonly session: string;
  /** Of the session: whoever accepts an agent takes a higher one than any that the agent is known to have had, and than the time by its clock. */
  readonly epoch: number;
  /** The sender number on its node. */
  readonly sender: number;
}

/** The part of a record that may be shown to agents. */
export function publicRecord(record: AgentRecord): PublicAgentRecord {
  const { agentId, agentType, capabilities, node, shard, state, since, metadata } = record;
  return { agentId, agentType, capabilities, node, shard, state, since, metadata };
}

/** All conditions given must hold; null and undefined ask nothing. */
export interface AgentQuery {
  id?: string | null;
  type?: string | null;
  capability?: string | null;
  /** true: state is `online`; false: it is not (`suspect` or `offline`). */
  online?: boolean | null;
}

export interface AgentPage {
  records: AgentRecord[];
  /** Where to go on; null = that was all. */
  cursor: string | null;
}

export interface DirectoryOptions {
  /** The most records, alive or not; default 250,000. */
  capacity?: number;
  /** The most offline records kept; default 10,000. */
  offlineCapacity?: number;
  /** How long an offline record is kept (milliseconds); default 600,000. */
  offlineAge?: number;
  /**
   * Two sessions of one agent met and `loser`, not offline, lost against `winner`: the shard that holds it closes
   * it. Called when the directory has already taken the decision in; it must not throw.
   */
  onLost?: (loser: AgentRecord, winner: AgentRecord) => void;
}

export type PutVerdict = 'added' | 'replaced' | 'stale' | 'full';

/** The most records one page holds. */
export const MAX_PAGE = 1000;
/** The most records one query looks at, about a millisecond of work: a rare condition comes in several pages, some empty. */
export const MAX_SCAN = 10_000;

class Entry {
  record: AgentRecord;
  /** When this directory learned that it is offline (milliseconds); meaningless otherwise. */
  offlineAt = 0;
  waiting = false;
  older: Entry | null = null;
  newer: Entry | null = null;

  constructor(record: AgentRecord) {
    this.record = record;
  }
}

/** Runs are split at twice this length, so an insertion moves no more than that. */
const RUN = 256;

/** Entries in the order of their agentIds, in sorted runs: insert, delete and seek without moving the whole. */
class AgentList {
  size = 0;
  private readonly runs: Entry[][] = [];

  insert(entry: Entry): void {
    const id = entry.record.agentId;
    const r = this.runFor(id);
    if (r < 0) {
      this.runs.push([entry]);
    } else {
      const run = this.runs[r];
      run.splice(firstAtOrAfter(run, id), 0, entry);
      if (run.length > 2 * RUN) this.runs.splice(r + 1, 0, run.splice(RUN));
    }
    this.size++;
  }

  delete(entry: Entry): void {
    const id = entry.record.agentId;
    const r = this.runFor(id);
    const run = this.runs[r];
    const i = firstAtOrAfter(run, id);
    if (run[i] !== entry) return;
    run.splice(i, 1);
    if (run.length === 0) this.runs.splice(r, 1);
    this.size--;
  }

  /** The entries behind `cursor`, from the first on when it is null. The list must not change meanwhile. */
  *after(cursor: string | null): Generator<Entry> {
    let r = cursor === null ? 0 : Math.max(0, this.runFor(cursor));
    for (; r < this.runs.length; r++) {
      const run = this.runs[r];
      let i = cursor === null ? 0 : firstAtOrAfter(run, cursor);
      if (i < run.length && run[i].record.agentId === cursor) i++;
      for (; i < run.length; i++) yield run[i];
    }
  }

  /** The last run that begins at or before `id`, else the first; -1 when there is none. */
  private runFor(id: string): number {
    const { runs } = this;
    const behind = partition(runs.length, (r) => runs[r][0].record.agentId <= id);
    return runs.length === 0 ? -1 : Math.max(0, behind - 1);
  }
}

function firstAtOrAfter(run: Entry[], id: string): number {
  return partition(run.length, (i) => run[i].record.agentId < id);
}

/** The first of 0 to `length` - 1 for which `ahead` is false, by binary search; `length` when there is none. */
function partition(length: number, ahead: (i: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ahead(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * At most `capacity` records. Room for a new agent is made by forgetting the agent that has been offline longest;
 * when all are alive, a new one is not taken in (`full`) while known ones can still be replaced.
 */
export class Directory {
  readonly capacity: number;
  private readonly offlineCapacity: number;
  private readonly offlineAge: number;
  private readonly onLost: ((loser: AgentRecord, winner: AgentRecord) => void) | null;
  private readonly agents = new Map<string, Entry>();
  private readonly all = new AgentList();
  private readonly byType = new Map<string, AgentList>();
  private readonly byCapability = new Map<string, AgentList>();
  private readonly byNode = new Map<string, AgentList>();
  // Offline entries in the order in which they went offline.
  private oldest: Entry | null = null;
  private newest: Entry | null = null;
  private offlineCount = 0;

  /** Throws a RangeError when `capacity` or `offlineCapacity` is not an integer ≥ 1, or `offlineAge` is negative. */
  constructor(options: DirectoryOptions = {}) {
    this.capacity = options.capacity ?? 250_000;
    this.offlineCapacity = options.offlineCapacity ?? 10_000;
    this.offlineAge = options.offlineAge ?? 600_000;
    this.onLost = options.onLost ?? null;
    for (const bound of [this.capacity, this.offlineCapacity]) {
      if (!Number.isInteger(bound) || bound < 1)
        throw new RangeError(`a capacity must be 1 or more: ${bound}`);
    }
    if (!(this.offlineAge >= 0)) throw new RangeError(`offlineAge must not be negative: ${this.offlineAge}`);
  }

  /** Records, offline ones included. */
  get size(): number {
    return this.agents.size;
  }

  /** Offline records. */
  get offline(): number {
    return this.offlineCount;
  }

  get(agentId: string): AgentRecord | null {
    return this.agents.get(agentId)?.record ?? null;
  }

  /**
   * Takes in what a node says of an agent. An agent seen twice: the higher (epoch, node, shard) wins, and of
   * equals the later call. `added`: a new agent. `replaced`: it took the place of what was known, be it of the
   * same session or another. `stale`: what was known outranks it, nothing changed. `full`: see the class.
   * The record is kept, not copied: it must not be changed afterwards.
   * A session that has ended outranks those of its own node alone, of which the news may be late; on another node an earlier one
   * may live on, on the other side of what was a partition.
   */
  put(record: AgentRecord, now: number): PutVerdict {
    const entry = this.agents.get(record.agentId);
    if (entry === undefined) {
      if (this.agents.size >= this.capacity) {
        if (this.oldest === null) return 'full';
        this.forget(this.oldest);
      }
      const added = new Entry(record);
      this.agents.set(record.agentId, added);
      this.all.insert(added);
      this.index(added);
      if (record.state === 'offline') this.wait(added, now);
      return 'added';
    }
    const known = entry.record;
    const rival = known.session !== record.session;
    const revives = known.state === 'offline' && record.state !== 'offline' && known.node !== record.node;
    if (compareRank(record, known) < 0 && !revives) {
      if (rival && record.state !== 'offline') this.onLost?.(record, known);
      return 'stale';
    }
    this.unindex(entry);
    entry.record = record;
    this.index(entry);
    if (rival || record.state !== 'offline') this.unwait(entry);
    if (record.state === 'offline') this.wait(entry, now);
    if (rival && known.state !== 'offline') this.onLost?.(known, record);
    return 'replaced';
  }

  /** Forgets the agent; false when it is unknown or lives in another session by now. */
  remove(agentId: string, session: string): boolean {
    const entry = this.agents.get(agentId);
    if (entry === undefined || entry.record.session !== session) return false;
    this.forget(entry);
    return true;
  }

  /** False when the agent is unknown or lives in another session by now. A change of state sets `since` to `now`. */
  setState(agentId: string, session: string, state: AgentState, now: number): boolean {
    const entry = this.agents.get(agentId);
    if (entry === undefined || entry.record.session !== session) return false;
    this.change(entry, state, now);
    return true;
  }

  /**
   * A page of the agents that meet the query, by agentId. `cursor`: null for the first page, then what the page
   * before returned (any text is safe). `limit`: records per page, held within 1 to `MAX_PAGE`. A query looks at
   * `MAX_SCAN` records at most, so a page may be short, even empty, and still have a cursor: go on until it is
   * null. Type and capability are looked up in indexes; with both, the shorter list is walked.
   */
  query(query: AgentQuery, cursor: string | null, limit: number): AgentPage {
    const records: AgentRecord[] = [];
    if (query.id != null) {
      const record = this.get(query.id);
      if (record !== null && cursor === null && meets(record, query)) records.push(record);
      return { records, cursor: null };
    }
    const list = this.shortestList(query);
    if (list === undefined) return { records, cursor: null };
    const most = Math.max(1, Math.min(MAX_PAGE, Math.floor(limit) || 1));
    let seen = 0;
    let last = cursor;
    for (const { record } of list.after(cursor)) {
      if (records.length === most || seen === MAX_SCAN) return { records, cursor: last };
      seen++;
      last = record.agentId;
      if (meets(record, query)) records.push(record);
    }
    return { records, cursor: null };
  }

  /**
   * A shard, or with null a whole node, is gone: marks all its agents offline. Returns the new records of those
   * that were not offline yet.
   */
  removeNodeShard(node: string, shard: number | null, now: number): AgentRecord[] {
    const gone: AgentRecord[] = [];
    // A copy: when the bound on offline records forgets some, they leave the list under our hands.
    for (const entry of [...(this.byNode.get(node)?.after(null) ?? [])]) {
      if (entry.record.state === 'offline' || (shard !== null && entry.record.shard !== shard)) continue;
      this.change(entry, 'offline', now);
      gone.push(entry.record);
    }
    return gone;
  }

  /** Nothing is known of the agents of a node: those that are not offline are suspect. */
  suspect(node: string, now: number): void {
    for (const entry of this.byNode.get(node)?.after(null) ?? [])
      if (entry.record.state !== 'offline') this.change(entry, 'suspect', now);
  }

  /** Forgets the records that have been offline for `offlineAge`; returns how many. */
  expire(now: number): number {
    let forgotten = 0;
    while (this.oldest !== null && now - this.oldest.offlineAt >= this.offlineAge) {
      this.forget(this.oldest);
      forgotten++;
    }
    return forgotten;
  }

  private change(entry: Entry, state: AgentState, now: number): void {
    if (entry.record.state === state) return;
    entry.record = { ...entry.record, state, since: Math.round(now * 1000) };
    if (state === 'offline') this.wait(entry, now);
    else this.unwait(entry);
  }

  private forget(entry: Entry): void {
    this.unwait(entry);
    this.unindex(entry);
    this.all.delete(entry);
    this.agents.delete(entry.record.agentId);
  }

  private shortestList(query: AgentQuery): AgentList | undefined {
    const typed = query.type != null ? this.byType.get(query.type) : this.all;
    const able = query.capability != null ? this.byCapability.get(query.capability) : this.all;
    if (typed === undefined || able === undefined) return undefined;
    return typed.size < able.size ? typed : able;
  }

  private index(entry: Entry): void {
    const { agentType, capabilities, node } = entry.record;
    insertInto(this.byType, agentType, entry);
    for (const capability of new Set(capabilities)) insertInto(this.byCapability, capability, entry);
    insertInto(this.byNode, node, entry);
  }

  private unindex(entry: Entry): void {
    const { agentType, capabilities, node } = entry.record;
    deleteFrom(this.byType, agentType, entry);
    for (const capability of new Set(capabilities)) deleteFrom(this.byCapability, capability, entry);
    deleteFrom(this.byNode, node, entry);
  }

  /** Queues an offline entry for expiry. One that waits already keeps its time: repeats do not keep the dead. */
  private wait(entry: Entry, now: number): void {
    if (entry.waiting) return;
    entry.waiting = true;
    entry.offlineAt = now;
    entry.older = this.newest;
    if (this.newest === null) this.oldest = entry;
    else this.newest.newer = entry;
    this.newest = entry;
    this.offlineCount++;
    if (this.offlineCount > this.offlineCapacity && this.oldest !== null) this.forget(this.oldest);
  }

  private unwait(entry: Entry): void {
    if (!entry.waiting) return;
    entry.waiting = false;
    const { older, newer } = entry;
    if (older === null) this.oldest = newer;
    else older.newer = newer;
    if (newer === null) this.newest = older;
    else newer.older = older;
    entry.older = null;
    entry.newer = null;
    this.offlineCount--;
  }
}

function insertInto(lists: Map<string, AgentList>, key: string, entry: Entry): void {
  let list = lists.get(key);
  if (list === undefined) {
    list = new AgentList();
    lists.set(key, list);
  }
  list.insert(entry);
}

function deleteFrom(lists: Map<string, AgentList>, key: string, entry: Entry): void {
  const list = lists.get(key);
  if (list === undefined) return;
  list.delete(entry);
  if (list.size === 0) lists.delete(key);
}

function meets(record: AgentRecord, query: AgentQuery): boolean {
  return (
    (query.type == null || record.agentType === query.type) &&
    (query.capability == null || record.capabilities.includes(query.capability)) &&
    (query.online == null || (record.state === 'online') === query.online)
  );
}

/** Positive when `a` outranks `b`: every node comes to the same answer, whatever order the news arrived in. */
function compareRank(a: AgentRecord, b: AgentRecord): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  if (a.node !== b.node) return a.node < b.node ? -1 : 1;
  return a.shard - b.shard;
}
