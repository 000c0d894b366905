import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { type BrokerConfig, configTable, makeConfig } from '../../../lib/config/index.js';
import { METRICS } from '../../../lib/telemetry/counters.js';
import { metricsTable } from '../../../ops/cli/metrics-table.js';

const ROOT = new URL('../../../../', import.meta.url);

describe('ops/README.md', () => {
  const readme = readFileSync(new URL('ops/README.md', ROOT), 'utf8');

  it('has exactly the settings of the broker', () => {
    assert.ok(
      readme.includes(`<!-- settings: begin -->\n${configTable()}\n<!-- settings: end -->`),
      'run: npm run build && node dist/ops/cli/config-table.js',
    );
  });

  it('has exactly the metrics of the broker', async () => {
    const table = await metricsTable();
    assert.ok(
      readme.includes(`<!-- metrics: begin -->\n${table}\n<!-- metrics: end -->`),
      'run: npm run build && node dist/ops/cli/config-table.js',
    );
    const others = ['errors_total', 'dropped_total', 'door_to_socket_seconds', 'loop_delay_seconds'];
    const names = [
      ...Object.values(METRICS).map(({ metric }) => metric),
      ...others.map((name) => `flowbus_${name}`),
    ];
    for (const name of names) assert.ok(table.includes(`| \`${name}\` |`), name);
    assert.equal(table.split('\n').length, new Set(names).size + 2);
  });

  it('shows a file that the broker takes', () => {
    const [, text] = /```yaml\n(.*?)```/s.exec(readme) ?? [];
    const { authSecretFile, ...settings } = parse(text) as Partial<BrokerConfig>;
    assert.equal(typeof authSecretFile, 'string');
    const config = makeConfig({ ...settings, authSecret: 's'.repeat(32) });
    assert.equal(config.backlog, 8 * 1024 * 1024);
    assert.deepEqual(config.allowedOrigins, ['https://app.example.com']);
  });

  it('names every file of the command line', () => {
    const files = readdirSync(new URL('ops/cli/', ROOT)).filter((name) => name.endsWith('.ts'));
    assert.ok(files.length > 0 && existsSync(new URL('ops/cli/main.ts', ROOT)));
    for (const file of files) assert.ok(readme.includes(`\`${file}\``), file);
  });
});

describe('the documents of the package', () => {
  let files: string[];

  before(function () {
    this.timeout(20_000);
    const packed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: fileURLToPath(ROOT),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ files: found }] = JSON.parse(packed) as [{ files: { path: string }[] }];
    files = found.map(({ path }) => path);
  });

  /** The anchors that GitHub and npm make of headings. */
  function anchorsOf(text: string): string[] {
    return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    );
  }

  it('link to nothing that is not packed, and to headings that are there', () => {
    const documents = files.filter((path) => path.endsWith('.md'));
    assert.ok(documents.includes('README.md') && documents.includes('ops/README.md'));
    for (const document of documents) {
      const text = readFileSync(new URL(document, ROOT), 'utf8');
      for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(link)) continue;
        const [path, anchor] = link.split('#');
        const target = path === '' ? document : posix.join(posix.dirname(document), path);
        const packed = target.endsWith('/')
          ? files.some((file) => file.startsWith(target))
          : files.includes(target);
        assert.ok(packed, `${document}: ${link}`);
        if (anchor === undefined) continue;
        assert.ok(anchorsOf(readFileSync(new URL(target, ROOT), 'utf8')).includes(anchor), link);
      }
    }
  });
});
