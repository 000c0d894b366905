/** nats-server with JetStream: a stream in files for each topic, and one durable consumer. */
import {
  AckPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstreamManager,
  jetstream as jetstreamOf,
  StorageType,
} from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { type AssuredClient, type Bus, PREFETCH, STORE_TIMEOUT } from './bus.js';
import { NatsClient, startNats } from './nats.js';

/** Names of streams and consumers have no dots. */
function streamOf(topic: string): string {
  return topic.replaceAll('.', '-');
}

const CONSUMER = 'bench';

class JetStreamAssured implements AssuredClient {
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;

  constructor(client: JetStreamClient, manager: JetStreamManager) {
    this.#client = client;
    this.#manager = manager;
  }

  async keep(topic: string): Promise<void> {
    const name = streamOf(topic);
    await this.#manager.streams.add({ name, subjects: [topic], storage: StorageType.File });
    await this.#manager.consumers.add(name, {
      durable_name: CONSUMER,
      ack_policy: AckPolicy.Explicit,
      max_ack_pending: PREFETCH,
    });
  }

  publish(topic: string, payload: Uint8Array): Promise<unknown> {
    // The client keeps what it is given until the tick ends.
    return this.#client.publish(topic, payload.slice());
  }

  async consume(topic: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    const consumer = await this.#client.consumers.get(streamOf(topic), CONSUMER);
    await consumer.consume({
      max_messages: PREFETCH,
      callback: (message) => {
        onMessage(message.data);
        message.ack();
      },
    });
  }
}

export const jetstream: Bus = {
  start: ({ data }) =>
    startNats(false, data === null ? [] : [`jetstream { store_dir: ${JSON.stringify(data)} }`]),
  async connect(url, name) {
    const connection = await connect({ servers: url, name });
    const assured = new JetStreamAssured(
      jetstreamOf(connection, { timeout: STORE_TIMEOUT }),
      await jetstreamManager(connection),
    );
    return new NatsClient(connection, name, assured);
  },
};
