/**
 * Batches of other nodes: frames as agents have them. What their ids stand for is looked up by link, the hop fields are written anew in a copy
 * of the batch, and runs of one topic, lane and sender go on to the shards that want them; never to another node. Nothing that stands
 * in a batch is believed before it was looked at.
 */
import { MAX_NODE_BATCH } from '../lib/mesh.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { decodeTopic, isAddress, REPLY_PREFIX } from '../lib/topics/topic.js';
import { BatchReader, Step } from '../lib/wire/batch.js';
import { batchChecksumHolds, forgetBatch } from '../lib/wire/batch-checksum.js';
import { Seeds, sealFrame, seedOn } from '../lib/wire/checksum.js';
import { EXTENSION_FLAGS, Extensions } from '../lib/wire/extensions.js';
import {
  FrameType,
  HEADER_SIZE,
  OFFSET_SENDER,
  OFFSET_TOPIC_ID,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  writeU24,
  writeU32,
} from '../lib/wire/frame.js';
import type { Exchange } from './exchange.js';
import type { ForeignSender, ForeignSenders, ForeignTopic } from './foreign-ids.js';
import type { History } from './history.js';
import type { LinkedNode } from './linked-node.js';
import { publishProblem, SINGLE } from './publishing.js';
import type { Route } from './route.js';
import type { SenderId } from './sender-ids.js';
import type { TopicId } from './topic-ids.js';

/** What the gateway does with frames that are no messages. Throws a FlowbusError for those that make no sense. */
export type OnControl = (node: LinkedNode, frame: BatchReader) => void;

export class Arrivals {
  readonly #exchange: Exchange;
  readonly #senders: ForeignSenders;
  readonly #history: History;
  readonly #onControl: OnControl;
  readonly #reader: BatchReader;
  readonly #extensions: Extensions;
  readonly #seeds: Seeds;
  /** The batch in hand: a copy in `#room`. */
  #copy: Uint8Array;
  readonly #room: Uint8Array;
  /** A frame that is written anew. */
  readonly #spelled: Uint8Array;
  // The run that is being gathered; #topic, that of its last frame, is null when there is none. The takers know the topics before that.
  #topic: ForeignTopic | null;
  #sender: ForeignSender | null;
  #from: SenderId | null;
  #topicId: number;
  #lane: number;
  #seed: number;
  #start: number;
  #end: number;
  #frames: number;

  constructor(exchange: Exchange, senders: ForeignSenders, history: History, onControl: OnControl) {
    this.#exchange = exchange;
    this.#senders = senders;
    this.#history = history;
    this.#onControl = onControl;
    this.#reader = new BatchReader();
    this.#extensions = new Extensions();
    this.#seeds = new Seeds();
    this.#room = new Uint8Array(MAX_NODE_BATCH);
    this.#copy = this.#room;
    this.#spelled = new Uint8Array(exchange.settings.maxPayload);
    this.#topic = null;
    this.#sender = null;
    this.#from = null;
    this.#topicId = 0;
    this.#lane = 0;
    this.#seed = 0;
    this.#start = 0;
    this.#end = 0;
    this.#frames = 0;
  }

  take(node: LinkedNode, batch: Uint8Array): void {
    const { counters } = this.#exchange;
    counters[C.nodeBytesIn] += batch.length;
    if (batch.length > MAX_NODE_BATCH) {
      counters[C.protocolErrors]++;
      return;
    }
    this.#room.set(batch);
    const copy = this.#room.subarray(0, batch.length);
    this.#copy = copy;
    forgetBatch();
    const reader = this.#reader;
    reader.open(copy, 0, copy.length, copy.length);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      if (step === Step.frame && reader.type === FrameType.publish) {
        if (this.#extends(node, reader)) continue;
        this.#finish();
        this.#begin(node, reader);
        continue;
      }
      this.#finish();
      if (step === Step.frame) this.#onControl(node, reader);
      else counters[C.protocolErrors]++;
    }
    this.#finish();
  }

  /** Whether the frame belongs to the run, and is part of it now. A run is no longer than what a lane takes in one piece. */
  #extends(node: LinkedNode, reader: BatchReader): boolean {
    const from = this.#from;
    if (
      from === null ||
      reader.sender !== this.#sender!.number ||
      reader.lane !== this.#lane ||
      reader.topicLength !== 0 ||
      reader.start !== this.#end ||
      (reader.flags & SINGLE) !== 0 ||
      reader.end - this.#start > this.#exchange.settings.maxPayload
    )
      return false;
    const same = reader.topicId === this.#topicId;
    const topic = same ? this.#topic! : this.#fellow(node, reader.topicId);
    if (topic === null) return false;
    const seed = same ? this.#seed : seedOn(this.#sender!.seed, topic.bytes);
    if (!batchChecksumHolds(this.#copy, reader.start, reader.end - reader.start, seed)) return false;
    if (!same) this.#turnTo(topic, reader.topicId, seed);
    writeU32(this.#copy, reader.start + OFFSET_TOPIC_ID, topic.id!.id);
    writeU24(this.#copy, reader.start + OFFSET_SENDER, from.number);
    this.#end = reader.end;
    this.#frames++;
    return true;
  }

  /** Another topic, if its messages go where those of the run go; else null. */
  #fellow(node: LinkedNode, topicId: number): ForeignTopic | null {
    const topic = node.ids.topic(topicId);
    if (topic === undefined || topic.id === null) return null;
    const route = this.#topic!.route(this.#exchange);
    return route.shared && topic.route(this.#exchange) === route ? topic : null;
  }

  /** The run goes on with another topic. */
  #turnTo(topic: ForeignTopic, topicId: number, seed: number): void {
    const before = this.#topic!;
    const { peers } = before.route(this.#exchange);
    for (let i = 0; i < peers.length; i++) peers[i].note(this.#lane, before.id!, this.#exchange.now);
    this.#topic = topic;
    this.#topicId = topicId;
    this.#seed = seed;
  }

  #begin(node: LinkedNode, reader: BatchReader): void {
    const sender = node.ids.sender(reader.sender);
    const topic = reader.topicId === 0 ? null : node.ids.topic(reader.topicId);
    if (sender === undefined || topic === undefined) {
      this.#drop('', Reason.invalid);
      node.askForIds();
      return;
    }
    const text = this.#textOf(reader, topic);
    const from = text === null ? null : this.#senders.idOf(sender);
    const seed = topic === null ? this.#seeds.of(sender.text, text ?? '') : seedOn(sender.seed, topic.bytes);
    const reason = this.#reasonAgainst(reader, text, from, seed);
    if (reason !== null) {
      this.#drop(text ?? '', reason);
      return;
    }
    writeU24(this.#copy, reader.start + OFFSET_SENDER, from!.number);
    if (topic === null) this.#sendSpelled(text!, from!, this.#copy, reader.start, reader.end, reader.lane);
    else if (topic.id === null) this.#spellOut(topic, from!, reader, seed);
    else {
      writeU32(this.#copy, reader.start + OFFSET_TOPIC_ID, topic.id.id);
      this.#topic = topic;
      this.#sender = sender;
      this.#from = from;
      this.#topicId = reader.topicId;
      this.#lane = reader.lane;
      this.#seed = seed;
      this.#start = reader.start;
      this.#end = reader.end;
      this.#frames = 1;
      if ((reader.flags & SINGLE) !== 0) this.#finish();
    }
  }

  /** Null: the frame has none that agents may publish on. */
  #textOf(reader: BatchReader, topic: ForeignTopic | null): string | null {
    if (topic !== null) return reader.topicLength === 0 ? topic.text : null;
    const text = decodeTopic(reader.bytes, reader.topicStart, reader.extensionsStart);
    return text !== null && publishProblem(text) === null ? text : null;
  }

  /** Why the frame goes no further; null when it does. */
  #reasonAgainst(
    reader: BatchReader,
    text: string | null,
    from: SenderId | null,
    seed: number,
  ): Reason | null {
    const { start, end, flags } = reader;
    if (text === null) return Reason.invalid;
    if (from === null || end - start > this.#exchange.settings.maxPayload) return Reason.tooLarge;
    if ((flags & SINGLE) !== 0) {
      const extensions = this.#extensions;
      const wrong = extensions.read(reader.bytes, reader.extensionsStart, reader.payloadStart);
      if (wrong !== null || (flags & EXTENSION_FLAGS) !== extensions.flags) return Reason.invalid;
    }
    return batchChecksumHolds(this.#copy, start, end - start, seed) ? null : Reason.invalid;
  }

  /** Sends the run on. */
  #finish(): void {
    const topic = this.#topic;
    if (topic === null) return;
    const route = topic.route(this.#exchange);
    const { id, text } = topic;
    this.#send(route, text, id, this.#from!, this.#copy, this.#start, this.#end, this.#frames, this.#lane);
    this.#topic = null;
    this.#sender = null;
    this.#from = null;
  }

  #sendSpelled(
    text: string,
    from: SenderId,
    src: Uint8Array,
    start: number,
    end: number,
    lane: number,
  ): void {
    const exchange = this.#exchange;
    const topic = text.startsWith(REPLY_PREFIX) ? null : exchange.topic(text);
    const route = topic === null ? exchange.route(text) : exchange.routeOf(topic);
    this.#send(route, text, null, from, src, start, end, 1, lane);
  }

  /** There is no id left for the topic: the frame spells it out from here on, and is sealed anew, since its size has changed. */
  #spellOut(topic: ForeignTopic, from: SenderId, reader: BatchReader, seed: number): void {
    const name = topic.bytes;
    const { start, end, lane } = reader;
    const total = end - start + name.length;
    const out = this.#spelled;
    if (total > out.length) {
      this.#drop(topic.text, Reason.tooLarge);
      return;
    }
    out.set(this.#copy.subarray(start, start + HEADER_SIZE));
    out.set(name, HEADER_SIZE);
    out.set(this.#copy.subarray(start + HEADER_SIZE, end), HEADER_SIZE + name.length);
    writeU32(out, OFFSET_TOTAL, total);
    writeU32(out, OFFSET_TOPIC_ID, 0);
    out[OFFSET_TOPIC_LENGTH] = name.length;
    sealFrame(out, 0, total, seed);
    this.#sendSpelled(topic.text, from, out, 0, total, lane);
  }

  #send(
    route: Route,
    text: string,
    id: TopicId<Route> | null,
    from: SenderId,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    lane: number,
  ): void {
    const exchange = this.#exchange;
    exchange.counters[C.nodeFramesIn] += frames;
    if (route.peers.length === 0 && isAddress(text)) exchange.droppedOn(text, Reason.noAgent, frames);
    const place = route.kept
      ? this.#history.record(lane, exchange.clock, from, id?.topic ?? null, text, src, start, end, frames)
      : 0;
    exchange.forward(route, id, from, src, start, end, frames, lane, exchange.now, place);
  }

  #drop(text: string, reason: Reason): void {
    this.#exchange.counters[C.protocolErrors]++;
    this.#exchange.droppedOn(text, reason, 1);
  }
}
