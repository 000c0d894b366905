/**
 * Who the agent is to its broker: the session, and what belongs to one connection and stands in frames that wait. When the next connection
 * begins they are written anew.
 */
import { FlowbusError } from '../errors.js';
import { REPLY_PREFIX } from '../topics/topic.js';
import type { Welcome } from '../wire/control.js';
import { utf8 } from '../wire/text.js';
import type { Announcements } from './announcements.js';
import { Clock } from './clock.js';
import type { Emitter } from './events.js';
import type { OutgoingTopics } from './outgoing-topics.js';
import type { Requests, Unsent } from './requests.js';
import type { Rewriter } from './requeue.js';

/** What a frame that waits may name, and whom it concerns. */
export interface Named {
  readonly announcements: Announcements;
  readonly topics: OutgoingTopics;
  readonly requests: Requests;
  readonly events: Emitter;
}

export class Identity {
  node: string;
  sender: number;
  /** Name of the session at the broker; null before the first welcome. */
  session: string | null;
  /** Where answers to this agent go, for as long as the connection stands. */
  address: string;
  private readonly nonce: string;
  private readonly clock: Clock;

  constructor() {
    this.node = '';
    this.sender = 0;
    this.session = null;
    this.address = '';
    this.nonce = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
    this.clock = new Clock();
  }

  welcomed({ session, node, sender }: Welcome): void {
    this.session = session;
    this.node = node;
    this.sender = sender;
    this.address = `${REPLY_PREFIX}${node}.${sender.toString(36)}.${this.nonce}`;
  }

  /**
   * Makes frames fit who the agent is now. `unsent` hears of requests that wait, unless null; `oldAddress`: to be replaced, null or '': none is;
   * `renumber`: in a new session.
   */
  rewriter(named: Named, unsent: Unsent | null, oldAddress: string | null, renumber: boolean): Rewriter {
    const { announcements, topics, requests, events } = named;
    const moved = oldAddress !== null && oldAddress !== '' && oldAddress !== this.address;
    return {
      sender: this.sender,
      renumber,
      now: this.clock.now(),
      oldReply: moved ? utf8(oldAddress) : null,
      newReply: moved ? utf8(this.address) : null,
      textOf: (id) => announcements.topic(id)?.text ?? null,
      topic: (text) => topics.get(text),
      onKept: (extensions) => {
        if (unsent !== null) requests.note(extensions, unsent);
      },
      onDropped: (reason) => {
        if (reason === 'expired') return;
        events.error(
          new FlowbusError(
            'PAYLOAD_TOO_LARGE',
            'A waiting message does not fit into the maxPayload of the new broker.',
          ),
        );
      },
    };
  }
}
