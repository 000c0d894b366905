/** What every door of a shard works with. */
import type { ControlCodec } from '../../lib/wire/control.js';
import type { ClusterView } from '../cluster-view.js';
import type { Consuming } from '../consuming.js';
import type { DeadLetterDesk } from '../dead-letter-desk.js';
import type { Exchange } from '../exchange.js';
import type { Gate } from '../http/gate.js';
import type { Interest } from '../interest.js';
import type { Publishing } from '../publishing.js';
import type { Reach } from '../reach.js';
import type { Replays } from '../replays.js';
import type { Retained } from '../retained.js';
import type { Sessions } from '../sessions.js';

/** Rejects with UNAUTHORIZED unless `agentId` may use the token; null: whoever comes over HTTP, as any agent. */
export type TokenCheck = (token: string | null | undefined, agentId: string | null) => Promise<unknown>;

export interface DoorContext {
  readonly node: string;
  readonly slot: number;
  readonly maxPayload: number;
  /** Milliseconds from upgrade to a complete hello. */
  readonly helloTimeout: number;
  /** Default for agents that name none (ms). */
  readonly heartbeatInterval: number;
  readonly gate: Gate;
  readonly exchange: Exchange;
  readonly sessions: Sessions;
  readonly interest: Interest;
  readonly reach: Reach;
  readonly publishing: Publishing;
  readonly consuming: Consuming;
  readonly desk: DeadLetterDesk;
  readonly cluster: ClusterView;
  readonly replays: Replays;
  readonly retained: Retained;
  /** Avro control payloads; the codec for JSON ones is in lib/wire/control.ts. */
  readonly avro: ControlCodec;
  /** Null when everybody may come in: then a hello is decided at once. */
  readonly authorise: TokenCheck | null;
}
