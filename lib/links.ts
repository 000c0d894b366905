/**
 * The links between the workers of one node: one-way, ordered, bounded. `shards/links/` has the two kinds
 * (shared-memory rings, Unix sockets); whatever uses a link cannot tell which it has.
 *
 * A link between two workers is two ordered paths, urgent and bulk; records of one path arrive in order and
 * whole, or, when a process dies, not at all. There is no order between the two paths.
 */

/**
 * What a record holds: frames back to back, or one message of the workers' own talk (see shards/); and what goes to and fro
 * about mailboxes (see shards/mailbox-talk.ts).
 */
export const RecordKind = {
  frames: 0,
  control: 1,
  reset: 2,
  assured: 3,
  stored: 4,
  deliver: 5,
  acks: 6,
  nack: 7,
  giveBack: 8,
  /** Where in its worker's history the frames stand that come next on the path (f64). */
  place: 9,
} as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** The largest record's payload (bytes): a whole batch and then some for headers. */
export const MAX_RECORD = 128 * 1024;

export interface LinkOut {
  /**
   * Copies `src[start, end)` (at most MAX_RECORD bytes) into the path as one record. `stamp`: when its oldest
   * frame came to this node, milliseconds of the machine's monotonic clock, low 32 bits.
   * False when the path is full: nothing was written. Once the peer has made room, `onBatchEnd()` of this
   * worker's reader is called (also when nothing came in): try again then, or earlier.
   * The peer sees the record after `flush()`, or earlier. Throws RangeError past MAX_RECORD.
   */
  write(
    urgent: boolean,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): boolean;
  /** Publishes what was written and wakes the peer if it sleeps. Once per turn of the event loop is enough. */
  flush(): void;
}

export interface LinkReader {
  /** One record. `src` is only valid during the call: copy what must stay. It must not throw. */
  onRecord(
    from: number,
    urgent: boolean,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): void;
  /**
   * After each bounded batch of records from all peers, in the same turn: the place to flush what they caused.
   * Also after a path that was full has room again. There may be calls without either.
   */
  onBatchEnd(): void;
}

/** All links of one worker. */
export interface Links {
  /** Shown in the log. */
  readonly kind: 'shared-memory' | 'unix-socket';
  /**
   * The link to worker `slot`; the same object for the whole life of this worker, also when that peer restarts.
   * What was written before the peer began to read waits for it. Throws RangeError for this worker's own slot.
   */
  to(slot: number): LinkOut;
  /** Begins to read, until `close()`. Never polls while idle: a peer's doorbell wakes it. */
  start(reader: LinkReader): Promise<void>;
  /**
   * Worker `slot` ended (its process is known to be gone): read what it left behind, now; sockets go on reading
   * it in later turns. Either way it comes ahead of its next incarnation's records. Not from inside `onRecord`.
   */
  drain(slot: number): void;
  /** Flushes, stops reading and removes this worker's socket. Sockets give what was flushed a second to be sent. */
  close(): Promise<void>;
}
