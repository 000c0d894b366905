/** What the workers of a node say to a shard beside what every worker hears: of agents and of mailboxes. */
import { RecordKind } from '../lib/links.js';
import { OFFSET_LANE } from '../lib/wire/frame.js';
import type { Assured } from './assured.js';
import type { Backpressure } from './backpressure.js';
import type { ClusterView } from './cluster-view.js';
import type { Consuming } from './consuming.js';
import type { DeadLetterDesk } from './dead-letter-desk.js';
import type { WorkerTalk } from './inbound.js';
import type { MailboxTable } from './mailbox-table.js';
import { readStoredRecord, SESSION_PREFIX, STORED_SIZE } from './mailbox-talk.js';
import type { Mailboxes } from './mailboxes.js';
import type { Peer } from './peer.js';
import type { Reach } from './reach.js';
import type { Sessions } from './sessions.js';
import { encodeTalk, type Talk } from './talk.js';

/** What the shard does with mailboxes, as far as other workers have to do with it. */
export interface MailboxOffice {
  readonly table: MailboxTable;
  readonly mailboxes: Mailboxes;
  readonly assured: Assured;
  readonly consuming: Consuming;
  readonly backpressure: Backpressure;
  readonly desk: DeadLetterDesk;
  readonly cluster: ClusterView;
}

/** Mailboxes named in one message of the workers' talk: half a KiB each at most. */
const NOTICES_PER_TALK = 200;

export class ShardTalk implements WorkerTalk {
  readonly #sessions: Sessions;
  readonly #office: MailboxOffice;
  readonly #reach: Reach;
  readonly #onUp: (peer: Peer) => void;

  constructor(sessions: Sessions, office: MailboxOffice, reach: Reach, onUp: (peer: Peer) => void) {
    this.#sessions = sessions;
    this.#office = office;
    this.#reach = reach;
    this.#onUp = onUp;
  }

  heard(peer: Peer, talk: Talk): void {
    const { table, mailboxes, consuming, backpressure, desk, cluster } = this.#office;
    switch (talk.t) {
      case 'agent':
        this.#sessions.presence.heard(talk.record);
        break;
      case 'node':
        if (talk.state === 'gone') this.#sessions.presence.nodeGone(talk.node);
        else this.#sessions.presence.nodeSuspect(talk.node);
        break;
      case 'reached':
        this.#reach.reached(talk.n);
        break;
      case 'mailboxes':
        if (talk.renew) table.renew(peer.slot);
        for (const notice of talk.add) table.add(notice, null);
        for (const handle of talk.remove) table.remove(handle);
        break;
      case 'consume':
        consuming.asked(peer, talk.ref, talk.session, talk.spec);
        break;
      case 'consuming':
        consuming.answered(talk.ref, talk.handle, talk.code, talk.message);
        break;
      case 'ask':
        desk.asked(peer, talk.ref, talk.ask);
        break;
      case 'letters':
        desk.answered(talk.ref, talk.answer);
        break;
      case 'nodes':
        cluster.answered(talk.ref, talk.nodes, talk.last);
        break;
      case 'leave':
        mailboxes.leave(talk.session, talk.handle & 0xff_ffff, talk.broke);
        break;
      case 'pressure':
        backpressure.heard(talk.notice);
        break;
      case 'breaker':
        consuming.breaker(talk.session, talk.change);
        break;
    }
  }

  record(peer: Peer, kind: RecordKind, src: Uint8Array, start: number, end: number): void {
    const { assured, consuming } = this.#office;
    switch (kind) {
      case RecordKind.assured:
        assured.arrived(peer.slot, src, start, end);
        break;
      case RecordKind.stored:
        for (let at = start; at < end; at += STORED_SIZE) {
          const { token, stored, code } = readStoredRecord(src, at);
          assured.settle(peer.slot, token, stored, code);
        }
        break;
      case RecordKind.deliver:
        consuming.delivered(src, start, end, src[start + SESSION_PREFIX + OFFSET_LANE] & 7);
        break;
      case RecordKind.acks:
        consuming.acked(src, start, end);
        break;
      case RecordKind.nack:
        consuming.nacked(src, start, end);
        break;
      case RecordKind.giveBack:
        consuming.returned(src, start);
        break;
    }
  }

  sync(peer: Peer): void {
    const { mailboxes } = this.#office;
    const notices = mailboxes.notices();
    for (let i = 0; i === 0 || i < notices.length; i += NOTICES_PER_TALK) {
      const add = notices.slice(i, i + NOTICES_PER_TALK);
      peer.tell(encodeTalk({ t: 'mailboxes', add, remove: [], renew: i === 0 }));
    }
    for (const notice of mailboxes.pressures()) peer.tell(encodeTalk({ t: 'pressure', notice }));
    this.#sessions.sync((bytes) => peer.tell(bytes));
  }

  up(peer: Peer): void {
    this.#office.table.renewed(peer.slot);
    this.#office.consuming.peerUp(peer, this.#sessions.all());
    peer.up = true;
    this.#onUp(peer);
  }

  /** Its sessions are no consumers any more, and what it had not answered may or may not be stored. */
  lost(slot: number): void {
    if (this.#sessions.presence.isGateway(slot)) this.#reach.gatewayLost();
    this.#sessions.presence.peerLost(slot);
    this.#office.consuming.peerLost(slot);
    this.#office.assured.peerLost(slot);
    this.#office.backpressure.peerLost(slot);
    this.#office.desk.peerLost(slot);
    this.#office.cluster.peerLost(slot);
  }
}
