/** A node under attack, with bystanders on each of its shards; and the tests that all attacks have in common. */
import assert from 'node:assert/strict';
import type { BrokerConfig } from '../../lib/config/index.js';
import { ERRORS, type ErrorCode } from '../../lib/errors.js';
import type { RunningNode } from '../../shards/primary.js';
import { Attacker, endAttackers } from './attacker.js';
import { nameOn, startBroker, until } from './broker/node.js';
import { Bystanders } from './bystanders.js';

/** Codes that some test provokes: noted where the test is written down, whichever file that is. */
export const provoked = new Set<ErrorCode>();

type Frames = Uint8Array[] | Promise<Uint8Array[]>;

export class Siege {
  readonly #config: Partial<BrokerConfig>;
  /** What came to the bystander of shard 0 on `proof.*`. */
  readonly #proofs = new Set<string>();
  #node: RunningNode | null = null;
  #bystanders: Bystanders | null = null;
  #serial = 0;

  /** Inside a `describe`: the node lives as long as its tests run. */
  constructor(config: Partial<BrokerConfig> = {}) {
    this.#config = config;
    before(() => this.#begin());
    afterEach(endAttackers);
    after(() => this.#end());
  }

  get node(): RunningNode {
    return this.#node!;
  }

  get url(): string {
    return this.node.url;
  }

  get bystanders(): Bystanders {
    return this.#bystanders!;
  }

  /** Their names are few, so that attackers replace each other, on both shards in turn. */
  join(encoding: 'avro' | 'json' = 'avro'): Promise<Attacker> {
    return Attacker.join(this.url, { agentId: nameOn(this.#serial++ % 2, 'attacker') }, encoding);
  }

  /** A text that nobody has used, for `proven`. */
  proof(): string {
    return `proof ${this.#serial++}`;
  }

  /** A message with this text, on `proof.*`, came to somebody else. */
  async proven(text: string): Promise<void> {
    await until(`the message "${text}"`, () => this.#proofs.has(text));
  }

  came(text: string): boolean {
    return this.#proofs.has(text);
  }

  /** The connection is as good as before: a message arrives, and nobody else has noticed anything. */
  async usable(attacker: Attacker): Promise<void> {
    const text = this.proof();
    attacker.send(attacker.message('proof.x', text));
    await this.proven(text);
    await this.unharmed();
  }

  unharmed(): Promise<void> {
    return this.bystanders.unharmed();
  }

  /** These frames, in one batch, are answered with just this error, and the connection goes on. */
  refuses(code: ErrorCode, title: string, frames: (attacker: Attacker) => Frames): void {
    provoked.add(code);
    it(`${code}: ${title}`, async () => {
      const attacker = await this.join();
      attacker.send(...(await frames(attacker)));
      await attacker.refused(code);
      await this.usable(attacker);
    });
  }

  /** These frames, in one batch, end a connection that has its welcome. */
  ends(code: ErrorCode, title: string, frames: (attacker: Attacker) => Frames, closeCode = 1008): void {
    provoked.add(code);
    it(`${code}: ${title}`, async () => {
      assert.ok(ERRORS[code].fatal);
      const attacker = await this.join();
      attacker.send(...(await frames(attacker)));
      await attacker.cutOff(code, closeCode);
      await this.unharmed();
    });
  }

  /** These frames, in one batch, end a connection that has said nothing else. */
  unwelcome(code: ErrorCode, title: string, frames: () => Frames): void {
    provoked.add(code);
    it(`${code}: ${title}`, async () => {
      const attacker = await Attacker.reach(this.url);
      attacker.send(...(await frames()));
      await attacker.cutOff(code);
      assert.equal(attacker.welcome, null);
      await this.unharmed();
    });
  }

  async #begin(): Promise<void> {
    this.#node = await startBroker(this.#config);
    this.#bystanders = await Bystanders.start(this.#node);
    await this.#bystanders.on(0).subscribe('proof.*', (message) => this.#proofs.add(message.text()));
  }

  async #end(): Promise<void> {
    try {
      await this.#bystanders?.stop();
    } finally {
      await this.#node?.stop();
    }
  }
}
