/** Machines, as far as the network goes: namespaces with an address each, and wires between them that can be cut. Needs root and iproute2. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { WireFaults } from './wire-program.js';

const PROGRAM = fileURLToPath(new URL('./wire-program.js', import.meta.url));
const NO_FAULTS: WireFaults = { loss: 0, delay: 0, cut: [] };

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: 'pipe' });
}

export class Network {
  readonly #namespaces: readonly string[];
  readonly #wires: ChildProcess;

  private constructor(namespaces: readonly string[], wires: ChildProcess) {
    this.#namespaces = namespaces;
    this.#wires = wires;
  }

  /** Of `count` machines; null where this machine does not let us. Whoever makes it closes it; it does not outlive this process. */
  static async make(count: number): Promise<Network | null> {
    const names = Array.from({ length: count }, (_, i) => `flowbus-${process.pid}-${i}`);
    // Devices stand beside those of this machine until they have moved: their names have 15 bytes at most.
    const device = `fb${process.pid}-`;
    if (spawnSync('ip', ['netns', 'add', names[0]]).status !== 0) return null;
    const wires = fork(PROGRAM, [device, ...names], {
      env: { ...process.env, UV_THREADPOOL_SIZE: String(count + 4) },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    const network = new Network(names, wires);
    const [said] = await Promise.race([once(wires, 'message'), once(wires, 'exit')]);
    if (said !== 'ready') {
      ip('netns', 'delete', names[0]);
      return null;
    }
    try {
      for (const [i, name] of names.entries()) {
        if (i > 0) ip('netns', 'add', name);
        ip('link', 'set', `${device}${i}`, 'netns', name);
        ip('-n', name, 'address', 'add', `${network.address(i)}/24`, 'dev', `${device}${i}`);
        for (const up of ['lo', `${device}${i}`]) ip('-n', name, 'link', 'set', up, 'up');
      }
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  /** Where the others reach this machine. */
  address(machine: number): string {
    return `10.77.0.${machine + 1}`;
  }

  /** A command that runs what follows on this machine, in the same process. */
  on(machine: number): string[] {
    return ['ip', 'netns', 'exec', this.#namespaces[machine]];
  }

  /** Resolves when it is so; what is not named is well. */
  async set(faults: Partial<WireFaults>): Promise<void> {
    this.#wires.send({ ...NO_FAULTS, ...faults });
    const [said] = await once(this.#wires, 'message');
    assert.equal(said, 'done');
  }

  heal(): Promise<void> {
    return this.set({});
  }

  /** What runs on these machines has ended, or loses its network. */
  async close(): Promise<void> {
    const exit = once(this.#wires, 'exit');
    this.#wires.disconnect();
    await exit;
  }
}
