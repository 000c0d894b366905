/** Another node, as this one sees it: whether it lives, and the copy of its part. */
import type { NodeNews, NodeState } from './message.js';
import { Part } from './part.js';

export class Member {
  readonly node: string;
  state: NodeState;
  incarnation: number;
  beat: number;
  /** When its last beat came, on whatever way (ms). */
  heardAt: number;
  /** What it is known to have. */
  sequence: number;
  hash: number;
  part: Part;
  /** The part that is being copied anew; it takes the place of `part` when it is complete. */
  incoming: Part | null;
  /** Floor of the reset that `incoming` is made from. */
  resetFloor: number;
  /** Since when this copy has been behind, and when somebody was last asked for the rest (ms); Infinity: it is not, and nobody was. */
  behindSince: number;
  pulledAt: number;
  /** Somebody who has said that they have more of it. */
  source: string;
  /** The copy had the same sequence number and other records: it begins anew. */
  differs: boolean;

  constructor(node: string, incarnation: number, now: number) {
    this.node = node;
    this.state = 'alive';
    this.incarnation = incarnation;
    this.beat = 0;
    this.heardAt = now;
    this.sequence = 0;
    this.hash = 0;
    this.part = new Part();
    this.incoming = null;
    this.resetFloor = 0;
    this.behindSince = Number.POSITIVE_INFINITY;
    this.pulledAt = Number.NEGATIVE_INFINITY;
    this.source = node;
    this.differs = false;
  }

  /** Whether this is later than all that was heard of it. */
  isNews(incarnation: number, beat: number): boolean {
    return incarnation > this.incarnation || (incarnation === this.incarnation && beat > this.beat);
  }

  /** The copy that is written to. */
  get target(): Part {
    return this.incoming ?? this.part;
  }

  get isBehind(): boolean {
    return (
      this.incoming !== null ||
      this.part.sequence < this.sequence ||
      (this.part.sequence === this.sequence && this.part.hash !== this.hash)
    );
  }

  news(): NodeNews {
    const { node, incarnation, beat } = this;
    return { node, incarnation, beat, sequence: this.part.sequence, hash: this.part.hash };
  }
}
