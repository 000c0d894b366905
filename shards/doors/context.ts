/** What every door of a shard works with. */
import type { ControlCodec, Hello } from '../../lib/wire/control.js';
import type { Consuming } from '../consuming.js';
import type { Exchange } from '../exchange.js';
import type { Gate } from '../http/gate.js';
import type { Interest } from '../interest.js';
import type { Publishing } from '../publishing.js';
import type { Sessions } from '../sessions.js';

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
  readonly publishing: Publishing;
  readonly consuming: Consuming;
  /** Avro control payloads; the codec for JSON ones is in lib/wire/control.ts. */
  readonly avro: ControlCodec;
  /**
   * Checks who says hello; null when everybody may. Rejects with UNAUTHORIZED. Without it a hello is decided at once.
   */
  readonly authorise: ((hello: Hello) => Promise<void>) | null;
}
