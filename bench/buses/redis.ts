/** redis-server's publish and subscribe, with ioredis: two connections for a client, since a subscribed one can do nothing else. */
import { Redis } from 'ioredis';
import { type Bus, type BusClient, Notes, WINDOW } from './bus.js';
import { freePort, startProgram } from './program.js';

class RedisClient implements BusClient {
  readonly shard = null;
  readonly missed = null;
  readonly answer = null;
  readonly assured = null;
  readonly request = null;
  readonly #publisher: Redis;
  readonly #subscriber: Redis;
  readonly #notes = new Notes();
  #published = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(url: string, name: string) {
    const options = { enableAutoPipelining: true, lazyConnect: true };
    this.#publisher = new Redis(url, options);
    this.#subscriber = new Redis(url, options);
    for (const connection of [this.#publisher, this.#subscriber])
      connection.on('error', (error: Error) => this.#notes.add(`${name}: ${error.message}`));
  }

  async connect(): Promise<this> {
    await Promise.all([this.#publisher.connect(), this.#subscriber.connect()]);
    return this;
  }

  get notes(): readonly string[] {
    return this.#notes.lines;
  }

  publish(topic: string, payload: Uint8Array): boolean {
    this.#last = this.#publisher.publish(topic, Buffer.from(payload));
    return ++this.#published % WINDOW !== 0;
  }

  async drained(): Promise<void> {
    await this.#last;
  }

  async count(pattern: string, onMessage: () => void): Promise<void> {
    await this.receive(pattern, onMessage);
  }

  async receive(pattern: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    if (pattern.includes('*')) {
      this.#subscriber.on('pmessageBuffer', (_pattern, _topic, payload: Buffer) => onMessage(payload));
      await this.#subscriber.psubscribe(pattern.replace('**', '*'));
      return;
    }
    this.#subscriber.on('messageBuffer', (_topic, payload: Buffer) => onMessage(payload));
    await this.#subscriber.subscribe(pattern);
  }

  async flush(): Promise<void> {
    await this.#last;
  }

  async close(): Promise<void> {
    this.#publisher.disconnect();
    this.#subscriber.disconnect();
  }
}

export const redis: Bus = {
  async start() {
    const port = await freePort();
    return startProgram({
      name: 'redis-server',
      version: { args: ['--version'], pattern: /v=(\S+)/ },
      settings: [
        'bind 127.0.0.1',
        `port ${port}`,
        'save ""',
        'appendonly no',
        // What waits for a slow subscriber is not to end its connection in a measurement.
        'client-output-buffer-limit pubsub 0 0 0',
      ].join('\n'),
      args: (file) => [file],
      port,
      url: `redis://127.0.0.1:${port}`,
    });
  },
  connect: (url, name) => new RedisClient(url, name).connect(),
};
