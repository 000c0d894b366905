/** The process of one shard, put together: links, exchange, sessions and doors. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { FlowbusError } from '../lib/errors.js';
import { createLogger, type Logger } from '../lib/telemetry/log.js';
import { startProcessGauges } from '../lib/telemetry/process-gauges.js';
import { avroControl } from '../lib/wire/avro.js';
import type { DoorContext, TokenCheck } from './doors/context.js';
import { HttpPort } from './doors/http-port.js';
import { WebSocketDoor } from './doors/websocket.js';
import { History, historyName } from './history.js';
import { createHttpDoor } from './http/door.js';
import { Gate } from './http/gate.js';
import { createHttpServer } from './http/server.js';
import { journalDir, orphansOf } from './journal/directory.js';
import { pinToCore } from './pinning.js';
import { joinPrimary, type PrimaryChannel, readBootData, reportFailure } from './primary-channel.js';
import { Retained } from './retained.js';
import { limitSendQueue } from './send-queue.js';
import { Shard } from './shard.js';
import { openGround, type WorkerGround } from './worker-ground.js';
import type { BootData } from './worker-protocol.js';

/** Between two looks at time-outs, heartbeats and backlogs (ms). */
const CHECK_INTERVAL = 250;
/** While draining: how often to look whether all is flushed, and how long nothing may have come (ms). */
const DRAIN_INTERVAL = 20;
const QUIET = 60;

/** Dead letters are logged so often (ms). */
const REPORT_INTERVAL = 10_000;

class Worker {
  readonly #boot: BootData;
  readonly #log: Logger;
  readonly #ground: WorkerGround;
  readonly #shard: Shard;
  readonly #webSocket: WebSocketDoor;
  readonly #http: Server;
  readonly #channel: PrimaryChannel;
  /** Of every kind, whether or not they have become WebSockets. */
  #connections: number;
  #draining: boolean;
  /** Messages that the journal held. */
  #recovered: number;
  #reportedAt: number;

  constructor(boot: BootData, log: Logger, ground: WorkerGround, authorise: TokenCheck | null) {
    const { config } = boot;
    this.#boot = boot;
    this.#log = log;
    this.#ground = ground;
    this.#connections = 0;
    this.#draining = false;
    this.#recovered = 0;
    this.#reportedAt = Number.NEGATIVE_INFINITY;
    this.#shard = new Shard(
      boot,
      ground.links,
      ground.block,
      (peer) => log.debug({ peer: peer.slot }, `worker ${peer.slot} is up`),
      (agentId, { name: mailbox, state, reason, coolDown }) =>
        log[state === 'open' ? 'warn' : 'info'](
          { agentId, mailbox, reason, ...(state === 'open' && { coolDown }) },
          `the circuit breaker of a consumer is ${state}`,
        ),
      new History(boot.slot, historyName(boot.instance), ground.segment, config.history),
      new Retained(boot.slot, ground.segment),
    );
    const context: DoorContext = {
      node: boot.node,
      slot: boot.slot,
      maxPayload: config.maxPayload,
      helloTimeout: config.helloTimeout,
      heartbeatInterval: config.heartbeatInterval,
      gate: new Gate({
        host: config.host,
        allowedOrigins: config.allowedOrigins,
        secured: authorise !== null,
      }),
      exchange: this.#shard.exchange,
      sessions: this.#shard.sessions,
      interest: this.#shard.interest,
      reach: this.#shard.reach,
      publishing: this.#shard.publishing,
      consuming: this.#shard.consuming,
      desk: this.#shard.desk,
      cluster: this.#shard.cluster,
      replays: this.#shard.replays,
      retained: this.#shard.retained,
      avro: avroControl,
      authorise,
    };
    this.#webSocket = new WebSocketDoor(context);
    const port = new HttpPort(
      context,
      ground.reader,
      () => this.#notReady(),
      (error) => log.error({ err: error }, 'the HTTP door failed'),
    );
    this.#http = createHttpServer(
      createHttpDoor(port),
      (request, socket, head) => this.#webSocket.upgrade(request, socket, head),
      { first: config.upgradeTimeout },
    );
    // One for all: what stays with each connection adds up.
    const closed = (): void => {
      this.#connections--;
    };
    this.#http.on('connection', (socket: Socket) => {
      limitSendQueue(socket);
      this.#connections++;
      socket.on('close', closed);
    });
    ground.onPoison = (_from, _urgent, _kind, _stamp, src, start, end) =>
      this.#shard.assured.poisoned(src, start, end);
    startProcessGauges(ground.block);
    this.#channel = joinPrimary({
      onConnection: (socket) => this.#http.emit('connection', socket),
      onPeerUp: () => {},
      onPeerDown: (slot, incarnation) => this.#shard.peerDown(slot, incarnation),
      onDrain: (timeout) => this.#drain(timeout),
      connections: () => this.#connections,
    });
  }

  async start(): Promise<void> {
    const boot = this.#boot;
    this.#recover(boot);
    // The mesh worker tells what it knows when it comes to it: nobody here waits for other nodes.
    const shards = boot.epochs.slice(0, boot.config.shards);
    await this.#shard.start(shards.flatMap((epoch, slot) => (epoch > 0 && slot !== boot.slot ? [slot] : [])));
    setInterval(() => this.#check(), CHECK_INTERVAL);
    if (boot.accept === 'self') {
      await new Promise<void>((resolve, reject) => {
        this.#http.once('error', reject);
        this.#http.listen(boot.listen.port, boot.listen.host, resolve);
      });
    }
    // Before the primary is told, which may say at once that all are: the log is one stream.
    const core = this.#pin();
    this.#log.info(
      { slot: boot.slot, incarnation: boot.incarnation, links: boot.linkKind, ...core },
      `shard ${boot.slot} is ready`,
    );
    this.#channel.ready(this.#recovered);
  }

  #recover({ slot, config }: BootData): void {
    const { dataDir, fsync, journalSize, shards } = config;
    if (dataDir === undefined) return;
    const began = performance.now();
    const maxBytes = Math.floor(journalSize / shards);
    const settings = { dir: journalDir(dataDir, slot), fsync, maxBytes };
    const messages = this.#shard.recover(settings, orphansOf(dataDir, slot, shards), (recovered) => {
      // Said also to the primary, which would take the silence for a start that has failed.
      this.#channel.recovering();
      const percent = Math.floor(100 * recovered.share);
      this.#log.info(
        { slot, ...recovered },
        `shard ${slot} reads its journal: ${recovered.messages} messages, ${percent} %`,
      );
    });
    this.#recovered = messages;
    const ms = Math.round(performance.now() - began);
    this.#log.info({ slot, messages, ms }, `the journal of shard ${slot} holds ${messages} messages`);
  }

  /** Only now: what starting has to compile may use every core. */
  #pin(): { core?: number } {
    if (!this.#boot.config.pinShards) return {};
    const core = pinToCore(this.#boot.slot);
    if (core !== null) return { core };
    this.#log.warn('shards cannot be pinned to cores on this machine');
    return {};
  }

  #check(): void {
    this.#shard.check(this.#webSocket.greetings);
    this.#webSocket.check();
    this.#reportDead();
  }

  /** As sums: what kills one message may kill a thousand. */
  #reportDead(): void {
    const now = performance.now();
    if (now - this.#reportedAt < REPORT_INTERVAL) return;
    const kinds = this.#shard.mailboxes.letters.untold();
    if (kinds === null) return;
    this.#reportedAt = now;
    this.#log.warn({ slot: this.#boot.slot, ...kinds }, 'messages became dead letters: see flowbus dlq ls');
  }

  #notReady(): string[] {
    return this.#draining ? ['this shard is shutting down'] : this.#shard.notReady();
  }

  /** No more is read from agents; what they have sent is delivered, then they are told to go elsewhere. */
  #drain(timeout: number): void {
    if (this.#draining) return;
    this.#draining = true;
    const deadline = performance.now() + timeout * DRAIN_SHARE;
    this.#shard.sessions.pause();
    const look = setInterval(() => {
      this.#shard.exchange.tick();
      if (!this.#shard.quiet(QUIET) && performance.now() < deadline) return;
      clearInterval(look);
      this.#shard.close();
      this.#http.close();
      this.#http.closeIdleConnections();
      setTimeout(() => this.#leave(), DRAIN_INTERVAL);
    }, DRAIN_INTERVAL);
  }

  #leave(): void {
    const done = (): void => this.#channel.drained();
    this.#ground.close().then(done, done);
  }
}

/** Of the time to drain: the rest is for goaways, and for ending before the primary loses its patience. */
const DRAIN_SHARE = 0.8;

/** Here and not with the first hello, and only where tokens are asked for: to load what reads them takes its time. */
async function tokenCheck(secret: string | undefined): Promise<TokenCheck | null> {
  if (secret === undefined) return null;
  const { verifyToken } = await import('../lib/security/token.js');
  return (token, agentId) => verifyToken(secret, token, agentId);
}

const boot = readBootData();
try {
  const ground = await openGround(boot);
  const authorise = await tokenCheck(boot.config.authSecret);
  await new Worker(boot, createLogger(boot.config, { shard: boot.slot }), ground, authorise).start();
} catch (error) {
  const code = error instanceof FlowbusError ? error.code : 'INTERNAL';
  reportFailure(code, error instanceof Error ? error.message : String(error));
}
