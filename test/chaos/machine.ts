/** A broker and a few agents on a machine of a `Network`. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join as joinPath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MAIN, Run } from '../integration/cli/run.js';
import type { CrewAnswer, CrewOrder, CrewSpec, CrewView } from './crew-program.js';
import type { Network } from './network.js';

const CREW = fileURLToPath(new URL('./crew-program.js', import.meta.url));
const AGENTS = 2;
/** The same on all machines. */
const PORT = 8081;
const MESH_PORT = 9081;
const SECRET = 'a secret that all nodes of this test share';

export class Machine {
  readonly node: string;
  readonly agents: readonly string[];
  readonly #network: Network;
  readonly #number: number;
  readonly #flags: readonly string[];
  #broker: Run | null;
  #crew: ChildProcess | null;

  /** Its broker joins the one of machine `seed`. */
  constructor(network: Network, number: number, seed: number, dir: string) {
    this.node = `node-${number}`;
    this.agents = Array.from({ length: AGENTS }, (_, i) => `agent-${number}-${i}`);
    this.#network = network;
    this.#number = number;
    this.#broker = null;
    this.#crew = null;
    this.#flags = [
      ...['--node', this.node, '--port', String(PORT), '--shards', '1', '--log-level', 'warn'],
      ...['--mesh-host', network.address(number), '--mesh-port', String(MESH_PORT)],
      ...['--mesh-secret', SECRET, '--data-dir', joinPath(dir, this.node), '--resume-window', '300ms'],
      ...(seed === number ? [] : ['--join', `${network.address(seed)}:${MESH_PORT}`]),
    ];
  }

  /** Resolves when agents can connect. */
  async start(): Promise<void> {
    const [program, ...args] = [...this.#network.on(this.#number), process.execPath, MAIN];
    const run = new Run([...args, 'start', '--json', ...this.#flags], {}, undefined, program);
    this.#broker = run;
    await run.until('ready line', () => run.out.includes('\n'));
  }

  async kill(): Promise<void> {
    this.#broker?.child.kill('SIGKILL');
    await this.#broker?.ended;
  }

  async man(): Promise<void> {
    const spec: CrewSpec = { url: `ws://127.0.0.1:${PORT}`, names: [...this.agents] };
    const [program, ...args] = [...this.#network.on(this.#number), process.execPath, CREW];
    const crew = spawn(program, [...args, JSON.stringify(spec)], { stdio: ['ignore', 2, 2, 'ipc'] });
    this.#crew = crew;
    const [answer] = await Promise.race([once(crew, 'message'), once(crew, 'exit')]);
    assert.deepEqual(answer, { ready: true }, 'agents that are connected');
  }

  /** One order at a time. */
  async #tell(order: CrewOrder): Promise<CrewAnswer> {
    this.#crew?.send(order);
    const [answer] = await once(this.#crew!, 'message');
    return answer as CrewAnswer;
  }

  async mark(): Promise<void> {
    await this.#tell({ order: 'mark' });
  }

  async view(): Promise<CrewView> {
    return ((await this.#tell({ order: 'view' })) as { view: CrewView }).view;
  }

  /** What failed when each of its agents has asked each of these. */
  async ask(names: string[]): Promise<string[]> {
    return ((await this.#tell({ order: 'ask', names })) as { failed: string[] }).failed;
  }

  async stop(): Promise<void> {
    const crew = this.#crew;
    if (crew !== null && crew.exitCode === null && crew.signalCode === null) {
      const exit = once(crew, 'exit');
      crew.disconnect();
      await exit;
    }
    const broker = this.#broker;
    if (broker === null) return;
    broker.child.kill('SIGTERM');
    const code = await broker.exit();
    if (broker.child.signalCode === null) assert.equal(code, 0, broker.err);
  }
}
