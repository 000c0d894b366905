/**
 * One loop that dials whom this node knows and has no connection with: the addresses it was told to join, peers on the LAN, those in
 * the directory, and those of its last life. It goes on for ever, and is quiet about it. It does no input or output of its own.
 */

/** `join`: from the configuration, and never forgotten; the others go with the node. */
export type Source = 'join' | 'learned';

interface Candidate {
  readonly address: string;
  source: Source;
  /** Who answered there, or is said to; null: nobody knows. */
  peer: string | null;
  failures: number;
  dueAt: number;
  /** When it last answered; null: never. */
  answeredAt: number | null;
  isDialling: boolean;
}

export interface DialerTiming {
  /** Milliseconds from the first to the second attempt; each further one comes half as late again, up to `slowest`. */
  quickest: number;
  slowest: number;
  /** Of two peers only the lower id dials at once, or they would have two connections; the higher one after that. */
  courtesy: number;
  /** A node that has refused this one is left alone for so long. */
  refused: number;
}

export const DIALER_TIMING: DialerTiming = { quickest: 500, slowest: 5000, courtesy: 500, refused: 10_000 };

export interface Telephone {
  /** Resolves with the peer that is there; it may be this one itself. */
  dial(address: string): Promise<string>;
  isConnected(peer: string): boolean;
  /** The first attempt at an address that was to be joined has failed, or one has worked after that. */
  onUnreachable(address: string, reason: Error): void;
  onReachable(address: string): void;
}

/** Addresses that are known at a time; more are not taken in. */
export const MAX_CANDIDATES = 8192;
const PARALLEL = 16;
/** Failures after which an address that was only learned is forgotten: an hour or so. */
const ABANDON = 720;
/** A connection that stood so long was a good one (ms). */
const LASTING = 5000;

export class Dialer {
  readonly #own: string;
  readonly #telephone: Telephone;
  readonly #timing: DialerTiming;
  readonly #random: () => number;
  readonly #candidates: Map<string, Candidate>;
  #dialling: number;

  constructor(own: string, telephone: Telephone, timing: DialerTiming, random: () => number = Math.random) {
    this.#own = own;
    this.#telephone = telephone;
    this.#timing = timing;
    this.#random = random;
    this.#candidates = new Map();
    this.#dialling = 0;
  }

  know(address: string, peer: string | null, source: Source, now: number): void {
    if (peer === this.#own) return;
    const known = this.#candidates.get(address);
    if (known !== undefined) {
      if (source === 'join') known.source = source;
      if (peer !== null) known.peer = peer;
      return;
    }
    if (this.#candidates.size >= MAX_CANDIDATES) return;
    this.#candidates.set(address, {
      address,
      source,
      peer,
      failures: 0,
      dueAt: peer === null ? now : now + this.#courtesy(peer),
      answeredAt: null,
      isDialling: false,
    });
  }

  /** It has left, or is forgotten. Where it was to be joined it is still dialled. */
  forget(peer: string): void {
    for (const candidate of this.#candidates.values())
      if (candidate.peer === peer && candidate.source === 'learned')
        this.#candidates.delete(candidate.address);
  }

  /** The last connection with it was lost. One that has not lasted counts as a failure: whoever is there is of no use, or has trouble. */
  lost(peer: string, now: number): void {
    for (const candidate of this.#candidates.values()) {
      if (candidate.peer !== peer) continue;
      const hasLasted = candidate.answeredAt === null || now - candidate.answeredAt >= LASTING;
      candidate.failures = hasLasted ? 0 : candidate.failures + 1;
      const courtesy = this.#courtesy(peer);
      candidate.dueAt = Math.max(
        candidate.dueAt,
        now + (hasLasted ? courtesy : this.#wait(candidate) + courtesy),
      );
    }
  }

  refused(peer: string, now: number): void {
    for (const candidate of this.#candidates.values())
      if (candidate.peer === peer) candidate.dueAt = now + this.#timing.refused;
  }

  /** Addresses to be joined at which nobody has answered. */
  unanswered(): string[] {
    const found: string[] = [];
    for (const { address, source, answeredAt } of this.#candidates.values())
      if (source === 'join' && answeredAt === null) found.push(address);
    return found;
  }

  /** Some times a second. */
  tick(now: number): void {
    for (const candidate of this.#candidates.values()) {
      if (this.#dialling >= PARALLEL) return;
      if (candidate.isDialling || candidate.dueAt > now) continue;
      if (candidate.peer !== null && this.#telephone.isConnected(candidate.peer)) continue;
      void this.#dial(candidate, now);
    }
  }

  /** Two that learn of each other, or lose each other, do so at the same time. */
  #courtesy(peer: string): number {
    return this.#own < peer ? 0 : this.#timing.courtesy * (1 + this.#random());
  }

  /** Not all at the same time, when all have lost each other at the same time. */
  #wait({ failures }: Candidate): number {
    const { quickest, slowest } = this.#timing;
    return Math.min(slowest, quickest * 1.5 ** failures) * (0.8 + 0.4 * this.#random());
  }

  async #dial(candidate: Candidate, now: number): Promise<void> {
    candidate.isDialling = true;
    this.#dialling++;
    candidate.dueAt = now + this.#wait(candidate);
    const isNew = candidate.source === 'join' && candidate.answeredAt === null;
    try {
      const peer = await this.#telephone.dial(candidate.address);
      if (peer === this.#own) {
        this.#candidates.delete(candidate.address);
        return;
      }
      candidate.peer = peer;
      candidate.answeredAt = now;
      if (isNew) this.#telephone.onReachable(candidate.address);
    } catch (error) {
      if (isNew && candidate.failures === 0) this.#telephone.onUnreachable(candidate.address, error as Error);
      candidate.failures++;
      if (candidate.source === 'learned' && candidate.failures >= ABANDON)
        this.#candidates.delete(candidate.address);
    } finally {
      candidate.isDialling = false;
      this.#dialling--;
    }
  }
}
