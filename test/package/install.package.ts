import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** dist/test/package/install.package.js → the checkout. */
const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

const PROGRAM = `
import { connect } from 'flowbus';
const agent = await connect(process.argv[2], { agentId: 'guest' });
const got = new Promise((resolve) => agent.subscribe('hello.*', (msg) => resolve(msg.json())).then(() => agent.publish('hello.world', { n: 42 })));
console.log(JSON.stringify(await got));
await agent.close();
`;

/** Needs the npm registry: a test of its own, `npm run test:package`. */
describe('the package', () => {
  let folder: string;

  before(function () {
    this.timeout(240_000);
    folder = mkdtempSync(join(tmpdir(), 'flowbus-package-'));
    const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    writeFileSync(join(folder, 'package.json'), '{"name":"empty","version":"1.0.0","type":"module"}');
    execFileSync('npm', ['install', '--ignore-scripts', '--no-fund', '--no-audit', `./${filename}`], {
      cwd: folder,
      stdio: 'ignore',
    });
  });

  after(function () {
    this.timeout(60_000);
    rmSync(folder, { recursive: true, force: true });
  });

  it('installs without scripts, starts a broker and connects to it from an empty project', async function () {
    this.timeout(60_000);
    const args = ['start', '--port', '0', '--mesh-port', '0', '--json', '--log-level', 'error'];
    const broker = spawn('npx', ['flowbus', ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(createInterface(broker.stdout), 'line')) as [string];
      const { url, pid, mesh } = JSON.parse(line) as { url: string; pid: number; mesh: string[] };
      assert.equal(mesh.length, 1, 'other nodes can join it');
      writeFileSync(join(folder, 'program.mjs'), PROGRAM);
      const output = execFileSync('node', ['program.mjs', url], { cwd: folder, encoding: 'utf8' });
      assert.deepEqual(JSON.parse(output), { n: 42 });
      process.kill(pid, 'SIGTERM');
      await once(broker, 'exit');
    } finally {
      broker.kill();
    }
  });
});
