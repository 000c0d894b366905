/** What a user's compiler says, with every check on. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));

const PROGRAM = `
import { connect, type ConnectOptions, type Payload } from '${ROOT}dist/lib/client/index.js';

interface Task { page: number; parts?: readonly string[] }
class Job { id = 1; run(): void {} }
declare const task: Task;
declare const record: Record<string, unknown>;
declare const any: object;

export const taken: Payload[] = [
  'text', 1, true, null, new Uint8Array(1), new ArrayBuffer(1), new DataView(new ArrayBuffer(1)),
  { page: 3 }, { a: { b: [1, { c: undefined }] } }, [1, task], task, new Job(), new Date(), record, any,
  { then: 'x', else: { if: 1 } }, { then: { page: 1 } }, { call: 1, apply: 2, bind: 3 },
];

export const refused: Payload[] = [
  // @ts-expect-error a function
  () => 1,
  // @ts-expect-error a promise
  Promise.resolve(1),
  // @ts-expect-error a function that returns one
  async () => 1,
  // @ts-expect-error a class
  Job,
  // @ts-expect-error
  undefined,
  // @ts-expect-error
  Symbol('s'),
  // @ts-expect-error
  1n,
];

export async function use(maybe: { n?: number; text?: string; token?: () => Promise<string> }): Promise<void> {
  const { n, text, token } = maybe;
  const options: ConnectOptions = {
    agentId: text, agentType: text, capabilities: undefined, metadata: undefined, token, priority: undefined,
    heartbeatInterval: n, connectTimeout: n, reconnect: { minDelay: n, maxDelay: n, attempts: n }, maxBuffered: n,
    maxInFlight: n,
  };
  const agent = await connect('ws://127.0.0.1:8081', options);
  const send = { priority: undefined, ttl: n, key: text, headers: undefined, traceparent: text };
  const more = { ...send, messageId: text, timeout: n, replyTo: text, correlation: undefined };
  const taken: boolean = agent.publish('a', 'x', { ...more, assured: undefined });
  const { stored } = await agent.publish('a', 'x', { ...more, assured: true });
  agent.send('b', task, send);
  agent.sendTo({ capability: 'c' }, { n }, send);
  const reply = await agent.request('b', [taken, stored], { ...send, timeout: n });
  reply.reply('x', { priority: undefined, ttl: n, headers: undefined });
  await agent.subscribe('a', () => 1, { group: text, replay: undefined, prefetch: n });
  await agent.agents({ id: text, type: text, capability: text, online: undefined, limit: n });
}
`;

describe('the types of the SDK', () => {
  let dir: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-types-'));
  });
  after(() => rmSync(dir, { recursive: true }));

  it('take undefined for every option, and functions and promises for no payload', async () => {
    const file = join(dir, 'program.mts');
    writeFileSync(file, PROGRAM);
    const flags = '--ignoreConfig --noEmit --strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess';
    const target = '--target es2023 --module nodenext --moduleResolution nodenext --types';
    const args = [...flags.split(' '), ...target.split(' '), '', file];
    const tsc = spawn(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...args]);
    let out = '';
    tsc.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    const [code] = await once(tsc, 'close');
    assert.equal(code, 0, out);
  });
});
