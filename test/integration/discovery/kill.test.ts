import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { MeshOptions } from '../../../discovery/mesh.js';
import { MAX_NODE_UNSENT, type NodeState } from '../../../lib/mesh.js';
import { until } from '../broker/node.js';
import { freePorts, type Member, PATIENT, startMember, stopMember, stopMembers } from './member.js';
import type { Answer } from './member-program.js';

const PROGRAM = new URL('./member-program.js', import.meta.url);

/** The machine may be busy with other things. */
const LONG = 30_000;
/** Visits after which all that is made once has been made. */
const WARM_UP = 10;
/** Bytes that a heap may grow by in the forty visits that follow: it grows by some 0.8 MB, ever more slowly, while caches and compiled code settle. */
const HEAP_SLACK = 2 << 20;

describe('mesh, with nodes in processes of their own', function () {
  this.timeout(2 * LONG);
  let a: Member;
  let dir: string;
  const children = new Set<ChildProcess>();

  async function startChild(name: string, options: Partial<MeshOptions>): Promise<ChildProcess> {
    const child = fork(PROGRAM, [name, JSON.stringify(options)], { execArgv: ['--expose-gc'] });
    children.add(child);
    await once(child, 'message');
    return child;
  }

  async function ask(child: ChildProcess): Promise<Answer> {
    child.send('?');
    const [answer] = (await once(child, 'message')) as [Answer];
    return answer;
  }

  async function kill(child: ChildProcess): Promise<void> {
    children.delete(child);
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  const received = (node: string): number => a.gateway.life(node)?.received ?? 0;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-mesh-'));
    a = await startMember('a', { timing: PATIENT });
  });

  afterEach(async () => {
    for (const child of children) {
      child.kill('SIGCONT');
      child.disconnect();
      await once(child, 'exit');
    }
    children.clear();
    await stopMembers();
    rmSync(dir, { recursive: true });
  });

  it('kill -9 and restart under traffic: the link begins anew, nothing comes twice, and what was not acknowledged is known', async () => {
    const [port] = await freePorts(1);
    const options = { identityDir: dir, port, join: [...a.mesh.addresses] };
    const timer = setInterval(() => {
      for (let i = 0; i < 20; i++) a.gateway.send('b', 1000);
    }, 5);
    try {
      const child = await startChild('b', options);
      await until('numbers come', () => received('b') > 500, LONG);
      const answer = await ask(child);
      assert.deepEqual(answer.wrong, []);
      assert.ok((answer.received ?? 0) > 0);
      await kill(child);
      const sent = a.gateway.life('b')?.sent ?? 0;
      await until('more waits', () => (a.gateway.life('b')?.sent ?? 0) > sent);
      await startChild('b', options);
      await until('it is back', () => a.gateway.lives.get('b')?.length === 2 && received('b') > 100, LONG);
      // The numbers of the life before it, that were sent to nobody, came back.
      assert.ok(a.gateway.lost.length > 0);
      assert.deepEqual(a.gateway.wrong, []);
      assert.equal(a.mesh.nodes()[1].incarnation, 2);
    } finally {
      clearInterval(timer);
    }
  });

  it('a node that stands still holds up no other, and costs a bounded amount of memory', async () => {
    // It is to be waited for, however long it stands still.
    const timing = { ...PATIENT, links: { ...PATIENT.links, silence: 2 * LONG } };
    await stopMember(a);
    a = await startMember('a', { timing });
    const still = await startChild('still', { join: [...a.mesh.addresses], timing });
    await startChild('quick', { join: [...a.mesh.addresses], timing });
    await until('numbers come from both', () => received('still') > 100 && received('quick') > 100, LONG);
    still.kill('SIGSTOP');
    let refused = 0;
    while (refused < 3) {
      for (let i = 0; i < 100; i++) if (!a.gateway.send('still', 60_000)) refused++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    const waiting = a.gateway.life('still')?.link?.unsent ?? 0;
    assert.ok(waiting > 0 && waiting <= MAX_NODE_UNSENT, `${waiting} bytes wait`);
    const before = received('quick');
    await until('numbers come from the other', () => received('quick') > before + 500, LONG);
    still.kill('SIGCONT');
    const sent = a.gateway.life('still')?.sent;
    for (let answer: Answer = {}; answer.received !== sent; ) {
      await pause(20);
      answer = await ask(still);
      assert.deepEqual(answer.wrong, []);
    }
    assert.deepEqual(a.gateway.wrong, []);
    assert.equal(a.gateway.lives.get('still')?.length, 1);
  });

  it('fifty joins and leaves of a node in a row leave nothing behind on another', async function () {
    this.timeout(4 * LONG);
    await stopMember(a);
    const [port] = await freePorts(1);
    const steady = await startChild('steady', {});
    const { addresses = [] } = await ask(steady);
    const untilState = async (state: NodeState) => {
      let answer: Answer = {};
      await until(
        () => `${state}: ${JSON.stringify(answer)}`,
        async () => {
          answer = await ask(steady);
          return answer.states?.a === state;
        },
        LONG,
      );
    };
    /** Joins, hears something, and leaves. */
    const visit = async () => {
      a = await startMember('a', { identityDir: dir, port, join: [...addresses] });
      await until('numbers come', () => received('steady') > 0, LONG);
      // Whoever has not heard of a node hears no farewell of it.
      await untilState('alive');
      await stopMember(a);
      assert.deepEqual(a.gateway.wrong, []);
      await untilState('left');
    };
    for (let i = 0; i < WARM_UP; i++) await visit();
    const before = await ask(steady);
    for (let i = WARM_UP; i < 50; i++) await visit();
    let after: Answer = {};
    await until(
      () => `as little open and in use as before, ${JSON.stringify(before)}: ${JSON.stringify(after)}`,
      async () => {
        after = await ask(steady);
        return (['timers', 'sockets', 'heap'] as const).every(
          (name) => after[name]! <= before[name]! + (name === 'heap' ? HEAP_SLACK : 0),
        );
      },
      LONG,
    );
    assert.deepEqual(after.wrong, []);
  });
});
