/** MQTT brokers, at quality of service 0: mosquitto and aedes, with mqtt.js. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { Aedes } from 'aedes';
import { connectAsync, type MqttClient } from 'mqtt';
import { type Bus, type BusClient, type BusServer, Notes } from './bus.js';
import { freePort, startProgram } from './program.js';

/** mqtt.js calls back when a message has been written; more on their way only fill its queue. */
const WINDOW = 1024;

class MqttBusClient implements BusClient {
  readonly shard = null;
  readonly missed = null;
  readonly answer = null;
  readonly assured = null;
  readonly request = null;
  readonly #client: MqttClient;
  readonly #notes = new Notes();
  #onWay = 0;
  #waiting: (() => void)[] = [];

  constructor(client: MqttClient, name: string) {
    this.#client = client;
    client.on('error', (error) => this.#notes.add(`${name}: ${error.message}`));
    client.on('close', () => {
      if (!client.disconnecting) this.#notes.add(`${name}: lost its connection`);
    });
  }

  get notes(): readonly string[] {
    return this.#notes.lines;
  }

  publish(topic: string, payload: Uint8Array): boolean {
    this.#onWay++;
    this.#client.publish(mqttTopic(topic), Buffer.from(payload), () => this.#written());
    return this.#onWay < WINDOW;
  }

  #written(): void {
    if (--this.#onWay !== 0) return;
    for (const resume of this.#waiting.splice(0)) resume();
  }

  async drained(): Promise<void> {
    if (this.#onWay > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  count(pattern: string, onMessage: () => void): Promise<void> {
    return this.receive(pattern, onMessage);
  }

  async receive(pattern: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    this.#client.on('message', (_, payload) => onMessage(payload));
    await this.#client.subscribeAsync(mqttTopic(pattern));
  }

  flush(): Promise<void> {
    return this.drained();
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }
}

function mqttTopic(topic: string): string {
  return topic.replaceAll('.', '/').replace('**', '#');
}

async function connect(url: string, name: string): Promise<BusClient> {
  return new MqttBusClient(await connectAsync(url, { clientId: name, keepalive: 0 }), name);
}

export const mosquitto: Bus = {
  async start() {
    const port = await freePort();
    return startProgram({
      name: 'mosquitto',
      version: { args: ['-h'], pattern: /version (\S+)/ },
      settings: [
        `listener ${port} 127.0.0.1`,
        'allow_anonymous true',
        'persistence false',
        'set_tcp_nodelay true',
        'max_queued_messages 0',
        'max_inflight_messages 0',
        'log_type error',
      ].join('\n'),
      args: (file) => ['-c', file],
      port,
      url: `mqtt://127.0.0.1:${port}`,
    });
  },
  connect,
};

/** In the process of the caller. */
export const aedes: Bus = {
  async start(): Promise<BusServer> {
    const broker = await Aedes.createBroker();
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      broker.handle(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const text = readFileSync(new URL('../../../node_modules/aedes/package.json', import.meta.url), 'utf8');
    return {
      url: `mqtt://127.0.0.1:${port}`,
      version: (JSON.parse(text) as { version: string }).version,
      pids: () => [process.pid],
      async stop() {
        for (const socket of sockets) socket.destroy();
        server.close();
        await new Promise<void>((resolve) => broker.close(resolve));
      },
    };
  },
  connect,
};
