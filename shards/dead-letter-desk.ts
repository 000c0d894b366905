/**
 * Whoever asks for dead letters, on whichever shard, is answered for all of the node: each shard keeps those of the mailboxes that
 * live there, and is asked over its link. A shard that does not answer is named in the answer.
 */
import type {
  LetterChoice,
  LetterCount,
  LetterDetail,
  LetterFilter,
  LetterPage,
  LetterSummary,
} from '../lib/dead-letter.js';
import { type ErrorCode, FlowbusError, isErrorCode } from '../lib/errors.js';
import { MAX_RECORD } from '../lib/links.js';
import { C } from '../lib/telemetry/counters.js';
import { type PackedLetter, packed } from './dead-letter-replay.js';
import { detailOf, letterId, parseLetterId, summaryOf } from './dead-letter-view.js';
import type { DeadLetter } from './dead-letters.js';
import type { Exchange } from './exchange.js';
import { slotOfHandle } from './mailbox-ref.js';
import type { MailboxTable } from './mailbox-table.js';
import type { Mailboxes } from './mailboxes.js';
import type { Peer } from './peer.js';
import { encodeTalk } from './talk.js';

/** How long another shard may take to answer (ms). */
const PATIENCE = 5000;
/** Questions to other shards that wait for their answers. */
const MAX_ASKED = 1024;
/** Letters that one shard replays, or purges, for one question. */
const MAX_DONE = 1000;
/** Bytes of a page, as JSON, that one shard answers with: it must fit into a record of its link. */
const PAGE_BYTES = 64 * 1024;
/** Of those that could not be replayed, so many are named. */
const MAX_REFUSED = 10;

/** What a shard is asked. */
export type LetterAsk =
  | { op: 'list'; filter: LetterFilter; before: number; limit: number }
  | { op: 'show'; number: number }
  /** One, or all that match. */
  | { op: 'replay' | 'purge'; number: number | null; filter: LetterFilter | null }
  /** A replayed one for a mailbox there. */
  | { op: 'put'; handle: number; letter: PackedLetter };

export type LetterAnswer =
  /** `end`: letters with numbers below it were not looked at; 0: all were. */
  | { op: 'list'; letters: LetterSummary[]; end: number }
  | { op: 'show'; letter: PackedLetter }
  | { op: 'done'; done: number; refused: { id: string; code: string }[]; more: boolean }
  | { op: 'failed'; code: string; message: string };

interface Asked {
  readonly slot: number;
  readonly answer: (answer: LetterAnswer | null) => void;
  readonly timer: NodeJS.Timeout;
}

export class DeadLetterDesk {
  readonly #exchange: Exchange;
  readonly #table: MailboxTable;
  readonly #mailboxes: Mailboxes;
  readonly #slot: number;
  readonly #asked: Map<number, Asked>;
  #lastRef: number;

  constructor(exchange: Exchange, table: MailboxTable, mailboxes: Mailboxes) {
    this.#exchange = exchange;
    this.#table = table;
    this.#mailboxes = mailboxes;
    this.#slot = exchange.settings.slot;
    this.#asked = new Map();
    this.#lastRef = 0;
  }

  /**
   * At most `limit` of those that match, newest first, from behind `cursor` on; a page may have fewer, or none, although there are
   * more. Rejects with BAD_OPTION, NO_JOURNAL.
   */
  async list(filter: LetterFilter, cursor: string | null, limit: number): Promise<LetterPage> {
    const from = cursor === null ? null : positionOf(cursor);
    const { answers, missing } = await this.#askAll((slot) => {
      const before = from === null ? Number.MAX_SAFE_INTEGER : from.number + (slot < from.slot ? 1 : 0);
      return { op: 'list', filter, before, limit };
    });
    // Below this some shard has not looked yet.
    let end = 0;
    const all: { number: number; slot: number; letter: LetterSummary }[] = [];
    for (const { slot, answer } of answers) {
      if (answer.op !== 'list') continue;
      end = Math.max(end, answer.end);
      for (const letter of answer.letters)
        all.push({ number: parseLetterId(letter.id)!.number, slot, letter });
    }
    all.sort((a, b) => b.number - a.number || b.slot - a.slot);
    const looked = all.filter(({ number }) => number >= end);
    const page = looked.slice(0, limit);
    const letters = page.map(({ letter }) => letter);
    const last = page.at(-1);
    if (looked.length > page.length && last !== undefined)
      return { letters, cursor: `${last.number}-${last.slot}`, missing };
    return { letters, cursor: end === 0 ? null : `${end}-0`, missing };
  }

  /** Rejects with NOT_FOUND, NO_JOURNAL, MAILBOX_UNAVAILABLE. */
  async show(id: string): Promise<LetterDetail> {
    const { slot, number } = this.#placeOf(id);
    const answer = await this.#askOne(slot, { op: 'show', number });
    if (answer.op !== 'show') throw notFound(id);
    return detailOf(slot, answer.letter);
  }

  /**
   * Puts letters back into their mailboxes, or, where those are no more, into all that take their topic. Of many, some at a time.
   * Rejects as `show`.
   */
  replay(choice: LetterChoice): Promise<LetterCount> {
    return this.#change('replay', choice);
  }

  /** Forgets letters. Rejects as `show`. */
  purge(choice: LetterChoice): Promise<LetterCount> {
    return this.#change('purge', choice);
  }

  /** A worker asks. */
  asked(peer: Peer, ref: number, ask: LetterAsk): void {
    this.#answer(ask).then((answer) => {
      const bytes = encodeTalk({ t: 'letters', ref, answer });
      const tooLarge = { op: 'failed', code: 'PAYLOAD_TOO_LARGE', message: '' } as const;
      peer.tell(bytes.length <= MAX_RECORD ? bytes : encodeTalk({ t: 'letters', ref, answer: tooLarge }));
      this.#exchange.tick();
    });
  }

  answered(ref: number, answer: LetterAnswer | null): void {
    const asked = this.#asked.get(ref);
    if (asked === undefined) return;
    this.#asked.delete(ref);
    clearTimeout(asked.timer);
    asked.answer(answer);
  }

  peerLost(slot: number): void {
    for (const [ref, asked] of [...this.#asked]) if (asked.slot === slot) this.answered(ref, null);
  }

  async #change(op: 'replay' | 'purge', choice: LetterChoice): Promise<LetterCount> {
    if ('id' in choice) {
      const { slot, number } = this.#placeOf(choice.id);
      const answer = await this.#askOne(slot, { op, number, filter: null });
      if (answer.op !== 'done') throw notFound(choice.id);
      return { done: answer.done, refused: answer.refused, more: false, missing: [] };
    }
    const { filter } = choice;
    const { answers, missing } = await this.#askAll(() => ({ op, number: null, filter }));
    let done = 0;
    let more = false;
    const refused: { id: string; code: string }[] = [];
    for (const { answer } of answers) {
      if (answer.op !== 'done') continue;
      done += answer.done;
      more ||= answer.more;
      refused.push(...answer.refused);
    }
    return { done, refused: refused.slice(0, MAX_REFUSED), more, missing };
  }

  #placeOf(id: string): { slot: number; number: number } {
    const place = parseLetterId(id);
    if (place === null || place.slot >= this.#exchange.settings.shards) throw notFound(id);
    return place;
  }

  /** Of all shards that answer; what one refuses is refused. */
  async #askAll(
    askOf: (slot: number) => LetterAsk,
  ): Promise<{ answers: { slot: number; answer: LetterAnswer }[]; missing: number[] }> {
    const slots = Array.from({ length: this.#exchange.settings.shards }, (_, slot) => slot);
    const all = await Promise.all(slots.map((slot) => this.#ask(slot, askOf(slot))));
    const answers = all.flatMap((answer, slot) => (answer === null ? [] : [{ slot, answer: taken(answer) }]));
    return { answers, missing: slots.filter((slot) => all[slot] === null) };
  }

  async #askOne(slot: number, ask: LetterAsk): Promise<LetterAnswer> {
    const answer = await this.#ask(slot, ask);
    if (answer === null)
      throw new FlowbusError(
        'MAILBOX_UNAVAILABLE',
        `Shard ${slot}, which keeps it, is down or does not answer.`,
      );
    return taken(answer);
  }

  /** Null: no answer. */
  #ask(slot: number, ask: LetterAsk): Promise<LetterAnswer | null> {
    if (slot === this.#slot) return this.#answer(ask);
    const peer = this.#exchange.peers[slot];
    const bytes = encodeTalk({ t: 'ask', ref: this.#lastRef + 1, ask });
    if (!peer?.listening || this.#asked.size >= MAX_ASKED || bytes.length > MAX_RECORD)
      return Promise.resolve(null);
    const ref = ++this.#lastRef;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.answered(ref, null), PATIENCE);
      this.#asked.set(ref, { slot, answer: resolve, timer });
      peer.tell(bytes);
      this.#exchange.tick();
    });
  }

  /** Of what this shard keeps. Never rejects. */
  async #answer(ask: LetterAsk): Promise<LetterAnswer> {
    try {
      return await this.#do(ask);
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      return { op: 'failed', code: error.code, message: error.message };
    }
  }

  async #do(ask: LetterAsk): Promise<LetterAnswer> {
    if (!this.#mailboxes.isOpen) throw new FlowbusError('NO_JOURNAL');
    const { letters } = this.#mailboxes;
    switch (ask.op) {
      case 'list':
        return this.#page(ask);
      case 'show': {
        const letter = letters.find(ask.number);
        if (letter === null) throw notFound(letterId(this.#slot, ask.number));
        return { op: 'show', letter: packed(letter) };
      }
      case 'put': {
        const home = this.#table.find(ask.handle)?.home ?? null;
        if (home === null) throw new FlowbusError('MAILBOX_UNAVAILABLE');
        const [code] = await this.#mailboxes.revive([{ home, letter: ask.letter }]);
        if (code !== null) throw new FlowbusError(code);
        return { op: 'done', done: 1, refused: [], more: false };
      }
      case 'purge': {
        const { chosen, more } = this.#chosen(ask);
        for (const letter of chosen) letters.remove(letter);
        if (!letters.flush()) throw new FlowbusError('JOURNAL_FULL');
        this.#exchange.counters[C.deadLettersPurged] += chosen.length;
        return { op: 'done', done: chosen.length, refused: [], more };
      }
      case 'replay': {
        const { chosen, more } = this.#chosen(ask);
        const refused = await this.#replay(chosen);
        const done = chosen.length - refused.length;
        this.#exchange.counters[C.deadLettersReplayed] += done;
        return { op: 'done', done, refused: refused.slice(0, MAX_REFUSED), more };
      }
    }
  }

  #page({ filter, before, limit }: LetterAsk & { op: 'list' }): LetterAnswer {
    const letters: LetterSummary[] = [];
    let bytes = 0;
    const end = this.#mailboxes.letters.select(filter, before, (letter) => {
      if (letters.length === limit || bytes > PAGE_BYTES) return false;
      const summary = summaryOf(this.#slot, letter);
      bytes += Buffer.byteLength(JSON.stringify(summary));
      letters.push(summary);
      return true;
    });
    return { op: 'list', letters, end };
  }

  #chosen({ number, filter }: { number: number | null; filter: LetterFilter | null }): {
    chosen: DeadLetter[];
    more: boolean;
  } {
    const { letters } = this.#mailboxes;
    if (number !== null) {
      const letter = letters.find(number);
      if (letter === null) throw notFound(letterId(this.#slot, number));
      return { chosen: [letter], more: false };
    }
    const chosen: DeadLetter[] = [];
    if (filter === null) return { chosen, more: false };
    const end = letters.select(filter, Number.MAX_SAFE_INTEGER, (letter) => {
      if (chosen.length === MAX_DONE) return false;
      return chosen.push(letter) > 0;
    });
    return { chosen, more: end > 0 };
  }

  /** Those that could not be replayed, and why; they stay. */
  async #replay(chosen: readonly DeadLetter[]): Promise<{ id: string; code: string }[]> {
    const refused: { id: string; code: string }[] = [];
    const done = (letter: DeadLetter, code: string | null): void => {
      if (code === null) this.#mailboxes.letters.remove(letter);
      else refused.push({ id: letterId(this.#slot, letter.offset), code });
    };
    // Oldest first, as they had come; those whose mailbox is here, and that is nearly all, with one write.
    const oldest = [...chosen].reverse();
    const here = oldest.filter((letter) => this.#homeOf(letter) !== null);
    const codes = await this.#mailboxes.revive(
      here.map((letter) => ({ home: this.#homeOf(letter)!, letter: packed(letter) })),
    );
    for (const [i, letter] of here.entries()) done(letter, codes[i]);
    for (const letter of oldest) if (!here.includes(letter)) done(letter, await this.#send(letter));
    this.#mailboxes.letters.flush();
    return refused;
  }

  #homeOf({ mailbox }: DeadLetter) {
    return this.#table.named(mailbox)?.home ?? null;
  }

  /** To its mailbox elsewhere, or to all that take its topic now. What hinders it; null: nothing. */
  async #send(letter: DeadLetter): Promise<string | null> {
    const own = this.#table.named(letter.mailbox);
    const targets = own === undefined ? this.#exchange.route(letter.topicText).mailboxes : [own];
    if (targets.length === 0) return 'NO_MAILBOX';
    let code: string | null = null;
    for (const { notice } of [...targets]) {
      const ask = { op: 'put', handle: notice.handle, letter: packed(letter) } as const;
      const answer = await this.#ask(slotOfHandle(notice.handle), ask);
      if (answer === null) code ??= 'MAILBOX_UNAVAILABLE';
      else if (answer.op === 'failed') code ??= answer.code;
    }
    return code;
  }
}

function taken(answer: LetterAnswer): LetterAnswer {
  if (answer.op !== 'failed') return answer;
  const { code, message } = answer;
  throw new FlowbusError(
    isErrorCode(code) ? (code as ErrorCode) : 'INTERNAL',
    message === '' ? undefined : message,
  );
}

function notFound(id: string): FlowbusError {
  return new FlowbusError(
    'NOT_FOUND',
    `There is no dead letter ${id}: it was replayed, purged or dropped, or never was.`,
  );
}

/** The letter behind which a page begins. */
function positionOf(cursor: string): { number: number; slot: number } {
  const match = /^(\d{1,16})-(\d{1,3})$/.exec(cursor);
  if (match === null) throw new FlowbusError('BAD_OPTION', 'The cursor is none that a list has given.');
  return { number: Number(match[1]), slot: Number(match[2]) };
}
