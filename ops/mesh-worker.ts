/** The process of the mesh worker, put together: the gateway to the shards of this node, and the mesh of the other nodes. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { type RunningMesh, startMesh } from '../discovery/mesh.js';
import { meshPortOf } from '../lib/config/mesh.js';
import { FlowbusError } from '../lib/errors.js';
import type { ClusterNode } from '../lib/mesh.js';
import { createLogger, type Logger } from '../lib/telemetry/log.js';
import { startProcessGauges } from '../lib/telemetry/process-gauges.js';
import { Gateway } from '../shards/gateway.js';
import { History, historyName } from '../shards/history.js';
import { joinPrimary, type PrimaryChannel, readBootData, reportFailure } from '../shards/primary-channel.js';
import { openGround, type WorkerGround } from '../shards/worker-ground.js';
import type { BootData } from '../shards/worker-protocol.js';
import { plainAddress } from './address.js';

/** Between two looks at time-outs and backlogs (ms). */
const CHECK_INTERVAL = 250;

class MeshWorker {
  readonly #boot: BootData;
  readonly #log: Logger;
  readonly #ground: WorkerGround;
  readonly #gateway: Gateway;
  readonly #channel: PrimaryChannel;
  #mesh: RunningMesh | null;

  constructor(boot: BootData, log: Logger, ground: WorkerGround) {
    this.#boot = boot;
    this.#log = log;
    this.#ground = ground;
    this.#mesh = null;
    const history = new History(boot.slot, historyName(boot.instance), ground.segment, boot.config.history);
    this.#gateway = new Gateway(boot, ground.links, ground.block, log, history);
    startProcessGauges(ground.block);
    this.#channel = joinPrimary({
      // There is none: connections are placed on shards.
      onConnection: (socket) => socket.destroy(),
      onPeerUp: () => {},
      onPeerDown: (slot, incarnation) => this.#gateway.peerDown(slot, incarnation),
      onDrain: () => this.#leave(),
      connections: () => 0,
    });
  }

  async start(): Promise<void> {
    const { node, config } = this.#boot;
    const { dataDir, meshHost, meshAnnounce, mdns, meshSecret, meshAllow } = config;
    if (dataDir === undefined)
      this.#log.info('without dataDir this node is another one to its cluster after each start');
    const mesh = await startMesh(
      {
        node,
        identityDir: dataDir === undefined ? null : join(dataDir, 'mesh'),
        host: isIP(meshHost) === 0 ? (await lookup(meshHost)).address : meshHost,
        port: meshPortOf(config),
        announce: meshAnnounce,
        join: config.join,
        mdns,
        secret: meshSecret,
        allow: meshAllow.length === 0 ? undefined : meshAllow,
        log: this.#log,
      },
      this.#gateway,
    );
    this.#mesh = mesh;
    this.#gateway.attach({
      write: (key, value) => mesh.write(key, value),
      nodes: () => mesh.nodes().map(shown),
    });
    await this.#gateway.start();
    setInterval(() => this.#gateway.check(), CHECK_INTERVAL);
    this.#channel.ready(0, mesh.addresses.map(plainAddress));
  }

  /** The shards have ended, and what they had for other nodes is here. */
  async #leave(): Promise<void> {
    try {
      this.#gateway.close();
      await this.#mesh?.close();
      await this.#ground.close();
    } catch (error) {
      this.#log.warn({ err: error }, 'the mesh did not close in good order');
    }
    this.#channel.drained();
  }
}

/** With addresses as people give them to `--join`. One that nobody has answered at stands for the node's name. */
function shown(node: ClusterNode): ClusterNode {
  return { ...node, node: plainAddress(node.node), addresses: node.addresses.map(plainAddress) };
}

const boot = readBootData();
try {
  const ground = await openGround(boot);
  await new MeshWorker(boot, createLogger(boot.config, { worker: 'mesh' }), ground).start();
} catch (error) {
  const code = error instanceof FlowbusError ? error.code : 'INTERNAL';
  reportFailure(code, error instanceof Error ? error.message : String(error));
}
