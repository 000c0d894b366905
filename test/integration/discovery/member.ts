/** A mesh with a gateway that remembers what it was told, and sends numbers. */
import { createServer } from 'node:net';
import {
  MESH_TIMING,
  type MeshOptions,
  type MeshTiming,
  type RunningMesh,
  startMesh,
} from '../../../discovery/mesh.js';
import type { MeshGateway, NodeLink, NodeState } from '../../../lib/mesh.js';

/** One life of a link: numbers, from 0 on each. */
interface Life {
  link: NodeLink | null;
  sent: number;
  received: number;
}

export class Numbers implements MeshGateway {
  /** By node, the lives of its links, oldest first. */
  readonly lives = new Map<string, Life[]>();
  readonly records = new Map<string, string>();
  readonly states = new Map<string, NodeState>();
  /** What must not be. */
  readonly wrong: string[] = [];
  lost: number[] = [];

  life(node: string): Life | null {
    const life = this.lives.get(node)?.at(-1);
    return life === undefined || life.link === null ? null : life;
  }

  get linked(): number {
    let count = 0;
    for (const lives of this.lives.values()) if (lives.at(-1)?.link !== null) count++;
    return count;
  }

  /** The next number to a node, in a batch of `size` bytes; false when too much is unsent there. */
  send(node: string, size = 4): boolean {
    const life = this.life(node);
    if (life?.link == null || life.link.unsent > 1 << 20) return false;
    const batch = Buffer.alloc(size);
    batch.writeUInt32LE(life.sent++);
    life.link.send(batch, 0, size);
    return true;
  }

  onLink(link: NodeLink): void {
    const lives = this.lives.get(link.node) ?? [];
    if (lives.at(-1)?.link != null) this.wrong.push(`a link with ${link.node} began in another`);
    lives.push({ link, sent: 0, received: 0 });
    this.lives.set(link.node, lives);
  }

  onLinkLost(link: NodeLink, unacknowledged: readonly Uint8Array[]): void {
    const life = this.life(link.node);
    if (life?.link !== link) this.wrong.push(`a link with ${link.node} ended that was none`);
    else life.link = null;
    this.lost = unacknowledged.map((bytes) => Buffer.from(bytes).readUInt32LE());
    // What is handed back is the end of what was sent, whole.
    const first = (life?.sent ?? 0) - this.lost.length;
    if (this.lost.some((number, i) => number !== first + i)) this.wrong.push('the rest has holes');
  }

  onRoom(): void {}

  onBatch(link: NodeLink, bytes: Uint8Array): void {
    const life = this.life(link.node);
    const number = Buffer.from(bytes).readUInt32LE();
    if (life?.link !== link) this.wrong.push(`${link.node} sent ${number} on a link that has ended`);
    else if (number !== life.received++)
      this.wrong.push(`${link.node} sent ${number} as ${life.received - 1}`);
  }

  onRecord(node: string, key: string, value: Uint8Array | null): void {
    if (value === null) this.records.delete(`${node} ${key}`);
    else this.records.set(`${node} ${key}`, Buffer.from(value).toString());
  }

  onNode(node: string, state: NodeState): void {
    this.states.set(node, state);
  }
}

/** For tests in which no node is to be given up, however long a busy machine takes. */
export const PATIENT: MeshTiming = {
  ...MESH_TIMING,
  replica: { ...MESH_TIMING.replica, deadAfter: 120_000 },
  links: { ...MESH_TIMING.links, patience: 120_000 },
};

export interface Member {
  name: string;
  mesh: RunningMesh;
  gateway: Numbers;
  /** Lines of the log that a user would see, with their codes. */
  lines: string[];
}

const members = new Set<Member>();

/** On loopback and a free port; `record` is in its part of the directory. */
export async function startMember(name: string, options: Partial<MeshOptions> = {}): Promise<Member> {
  const gateway = new Numbers();
  const lines: string[] = [];
  const keep = (fields: object, message: string) =>
    lines.push(`${(fields as { code?: string }).code ?? ''} ${message}`);
  const mesh = await startMesh(
    {
      node: name,
      identityDir: null,
      host: '127.0.0.1',
      port: 0,
      announce: [],
      join: [],
      mdns: false,
      log: { debug: () => {}, info: keep, warn: keep, error: keep },
      ...options,
    },
    gateway,
  );
  mesh.write('record', Buffer.from(`of ${name}`));
  const member = { name, mesh, gateway, lines };
  members.add(member);
  return member;
}

export async function stopMember(member: Member): Promise<void> {
  members.delete(member);
  await member.mesh.close();
}

export async function stopMembers(): Promise<void> {
  await Promise.all([...members].map(stopMember));
}

/** Whether each has a link with every other, holds it for alive, and has its record. */
export function isWhole(all: readonly Member[]): boolean {
  return all.every(({ name, gateway }) =>
    all.every(
      (other) =>
        other.name === name ||
        (gateway.life(other.name) !== null &&
          gateway.states.get(other.name) === 'alive' &&
          gateway.records.get(`${other.name} record`) === `of ${other.name}`),
    ),
  );
}

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
