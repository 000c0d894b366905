/**
 * The HTTP door of a shard. Every shard serves every route:
 *
 *   POST /v1/publish/<topic>?priority=&ttl=&key=&retain=                body = payload             202
 *   POST /v1/publish/<topic>?assured=true&id=&delay=&maxAttempts=&…     stored in mailboxes        200
 *   GET  /v1/subscribe?pattern=…&replay=&since=&access_token=           server-sent events         200
 *   GET  /v1/agents?type=&capability=&id=&online=&cursor=&limit=        JSON                       200
 *   GET  /v1/dead-letters[/<id>]?mailbox=&kind=&topic=&since=&…         JSON                       200
 *   POST /v1/dead-letters/replay?id= or a filter                        JSON                       200
 *   DELETE /v1/dead-letters[/<id>]?id= or a filter                      JSON                       200
 *   GET  /v1/cluster                                                    JSON                       200
 *   GET  /metrics                                                       Prometheus                 200
 *   GET  /healthz                                                       the event loop runs        200
 *   GET  /readyz                                                        takes traffic              200 or 503
 *
 * HEAD works wherever GET does. Errors are JSON, { code, message }. PROTOCOL.md has the contract.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { FlowbusError } from '../../lib/errors.js';
import { answer, answerError, answerFailure, answerJson, type Visit } from './answer.js';
import { readBody } from './body.js';
import { answerDeadLetters, deadLetterMethods } from './dead-letters.js';
import { answerPreflight, isPreflight, openToPage } from './pages.js';
import type { HttpDoorPort } from './port.js';
import { assuredOptions, checkPayload, encodingOf, publishOptions, roomFor, topicOf } from './publish.js';
import { agentQueryOf, checkNames, NO_PARAMETERS, patternsOf, startOf } from './query.js';
import { EventStreams } from './stream.js';
import { bearerOf, streamTokenOf } from './token.js';

export interface HttpDoorOptions {
  /** Time for the body of a publish (milliseconds); default 5,000. */
  bodyTime?: number;
  /** Bodies read at a time, each up to maxPayload; default 512: 32 MiB. Further publishes get OVERLOADED. */
  maxBodies?: number;
  /** Event streams at a time; default 1,024. Further ones get LIMIT_REACHED. */
  maxStreams?: number;
  /** Between two comments in an event stream (milliseconds); default 15,000. */
  heartbeat?: number;
}

const PUBLISH = '/v1/publish/';
const READ = ['GET', 'HEAD'];
const WRITE = ['POST'];
const REQUEST_TIMEOUT = 408;

/** A request on its way to its route. */
interface RoutedVisit extends Visit {
  /** Behind the route's path, still percent-encoded. */
  readonly rest: string;
  readonly query: URLSearchParams;
}

interface Route {
  readonly methods: readonly string[];
  /** Web pages of allowed origins may use it. */
  readonly forPages?: boolean;
  answer(visit: RoutedVisit): Promise<void>;
}

class HttpDoor<Caller> {
  readonly #port: HttpDoorPort<Caller>;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #streams: EventStreams;
  readonly #bodyTime: number;
  readonly #maxBodies: number;
  #bodies = 0;

  constructor(
    port: HttpDoorPort<Caller>,
    { bodyTime = 5000, maxBodies = 512, maxStreams = 1024, heartbeat = 15_000 }: HttpDoorOptions,
  ) {
    this.#port = port;
    this.#bodyTime = bodyTime;
    this.#maxBodies = maxBodies;
    this.#streams = new EventStreams(maxStreams, heartbeat);
    this.#routes = new Map<string, Route>([
      [PUBLISH, { methods: WRITE, forPages: true, answer: (visit) => this.#publish(visit) }],
      ['/v1/subscribe', { methods: READ, forPages: true, answer: (visit) => this.#subscribe(visit) }],
      ['/v1/agents', { methods: READ, forPages: true, answer: (visit) => this.#agents(visit) }],
      ['/v1/cluster', { methods: READ, forPages: true, answer: (visit) => this.#cluster(visit) }],
      ['/metrics', { methods: READ, answer: (visit) => this.#metrics(visit) }],
      ['/healthz', { methods: READ, answer: async (visit) => answerJson(visit, 200, { status: 'ok' }) }],
      ['/readyz', { methods: READ, answer: async (visit) => this.#ready(visit) }],
    ]);
  }

  async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = req.url ?? '/';
    const mark = url.indexOf('?');
    const path = mark < 0 ? url : url.slice(0, mark);
    const publishing = path.startsWith(PUBLISH);
    const visit: RoutedVisit = {
      req,
      res,
      answered: (status) => this.#port.answered(status),
      rest: publishing ? path.slice(PUBLISH.length) : '',
      query: new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1)),
    };
    const problem = this.#port.gate.problem(req.headers);
    if (problem !== null) {
      answerError(visit, new FlowbusError(problem));
      return;
    }
    const route = this.#routes.get(publishing ? PUBLISH : path) ?? this.#deadLetters(path);
    if (route === undefined) {
      answerError(visit, new FlowbusError('NOT_FOUND'));
      return;
    }
    if (route.forPages) {
      openToPage(visit);
      if (isPreflight(visit)) {
        answerPreflight(visit, route.methods);
        return;
      }
    }
    if (!route.methods.includes(req.method ?? '')) {
      const headers = { Allow: route.methods.join(', ') };
      answerError(visit, new FlowbusError('METHOD_NOT_ALLOWED'), { headers });
      return;
    }
    try {
      await route.answer(visit);
    } catch (error) {
      this.#fail(visit, error);
    }
  }

  #fail(visit: RoutedVisit, error: unknown): void {
    if (!(error instanceof FlowbusError)) {
      this.#port.failed(error);
      answerFailure(visit);
    } else if (error.code === 'TIMEOUT' && !visit.req.complete) {
      // The client was too slow, not the broker; and the rest of its body is not worth waiting for.
      answerError(visit, error, { status: REQUEST_TIMEOUT, close: true });
    } else {
      answerError(visit, error);
    }
  }

  async #publish(visit: RoutedVisit): Promise<void> {
    const { req, rest } = visit;
    const caller = await this.#port.authorise(bearerOf(req.headers));
    const topic = topicOf(rest);
    const options = publishOptions(req, visit.query);
    const { assured, id } = assuredOptions(req, visit.query);
    const payload = await this.#body(req, roomFor(topic, options, this.#port.maxPayload));
    const encoding = encodingOf(req.headers['content-type'], payload);
    checkPayload(payload, encoding);
    if (assured) {
      const stored = await this.#port.store(caller, topic, payload, encoding, options, id);
      answerJson(visit, 200, { stored });
      return;
    }
    const verdict = this.#port.publish(caller, topic, payload, encoding, options);
    if (verdict !== 'ok') throw new FlowbusError(verdict);
    answerJson(visit, 202, { accepted: true });
  }

  async #body(req: IncomingMessage, room: number): Promise<Uint8Array> {
    if (this.#bodies >= this.#maxBodies) throw new FlowbusError('OVERLOADED');
    this.#bodies++;
    try {
      return await readBody(req, room, this.#bodyTime);
    } finally {
      this.#bodies--;
    }
  }

  async #subscribe(visit: RoutedVisit): Promise<void> {
    const { req, res } = visit;
    const caller = await this.#port.authorise(streamTokenOf(req.headers, visit.query));
    const patterns = patternsOf(visit.query);
    const start = startOf(visit.query, req.headersDistinct['last-event-id']?.[0]);
    if (req.method === 'HEAD') {
      answer(visit, 200, 'text/event-stream; charset=utf-8', '');
      return;
    }
    // The client may have gone while it was authorised, and then nothing would ever end the stream.
    if (res.destroyed) return;
    await this.#streams.open(res, visit.answered, (sink) =>
      this.#port.openStream(caller, patterns, start, sink),
    );
  }

  async #agents(visit: RoutedVisit): Promise<void> {
    await this.#port.authorise(bearerOf(visit.req.headers));
    const { filter, cursor, limit } = agentQueryOf(visit.query);
    const page = await this.#port.agents(filter, cursor, limit);
    answerJson(visit, 200, { records: page.records, cursor: page.cursor });
  }

  async #cluster(visit: RoutedVisit): Promise<void> {
    await this.#port.authorise(bearerOf(visit.req.headers));
    checkNames(visit.query, NO_PARAMETERS);
    answerJson(visit, 200, { nodes: await this.#port.cluster() });
  }

  async #metrics(visit: RoutedVisit): Promise<void> {
    await this.#port.authorise(bearerOf(visit.req.headers));
    const { contentType, body } = await this.#port.metrics();
    answer(visit, 200, contentType, body);
  }

  #deadLetters(path: string): Route | undefined {
    const methods = deadLetterMethods(path);
    if (methods === null) return undefined;
    const answer = async (visit: RoutedVisit): Promise<void> => {
      const { req, query } = visit;
      await this.#port.authorise(bearerOf(req.headers));
      const { deadLetters } = this.#port;
      answerJson(visit, 200, await answerDeadLetters(deadLetters, path, req.method ?? '', query));
    };
    return { methods, forPages: true, answer };
  }

  #ready(visit: RoutedVisit): void {
    const { ready, reasons, recovering } = this.#port.ready();
    answerJson(visit, ready ? 200 : 503, { ready, reasons, recovering }, ready ? {} : { 'Retry-After': 1 });
  }
}

/** The listener for a server's `request` event; `createHttpServer` makes the server. It never throws. */
export function createHttpDoor<Caller = void>(
  port: HttpDoorPort<Caller>,
  options: HttpDoorOptions = {},
): (req: IncomingMessage, res: ServerResponse) => void {
  const door = new HttpDoor(port, options);
  return (req, res) => {
    // serve() catches all that a route throws; what is left is a defect of the port's own reporting.
    door.serve(req, res).catch(() => res.destroy());
  };
}
