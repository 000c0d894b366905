import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** dist/test/unit/project.test.js → the checkout. */
const text = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

describe('the project', () => {
  const manifest = JSON.parse(text('package.json')) as Record<string, unknown> & {
    scripts: Record<string, string>;
  };

  it('is the package flowbus, of ES modules, under the licence that it comes with', () => {
    assert.deepEqual([manifest.name, manifest.type, manifest.license], ['flowbus', 'module', 'MIT']);
    assert.match(text('LICENSE'), /^MIT License\n/);
    assert.ok(text('CHANGELOG.md').includes(String(manifest.version)));
  });

  it('is compiled strictly', () => {
    const { compilerOptions } = JSON.parse(text('tsconfig.json')) as {
      compilerOptions: Record<string, unknown>;
    };
    const { strict, module, outDir } = compilerOptions;
    assert.deepEqual([strict, module, outDir], [true, 'NodeNext', 'dist']);
  });

  it('keeps nothing in dist/ whose source is gone', () => {
    assert.match(manifest.scripts.build, / && node ops\/after-build\.js$/);
    const dir = mkdtempSync(join(tmpdir(), 'flowbus-build-'));
    try {
      for (const folder of ['ops/cli', 'dist/ops/cli']) mkdirSync(join(dir, folder), { recursive: true });
      for (const file of ['ops/cli/main.ts', 'dist/.tsbuildinfo']) writeFileSync(join(dir, file), '');
      for (const name of ['main', 'moved'])
        for (const end of ['js', 'js.map', 'd.ts'])
          writeFileSync(join(dir, `dist/ops/cli/${name}.${end}`), '');
      const script = fileURLToPath(new URL('../../../ops/after-build.js', import.meta.url));
      execFileSync(process.execPath, [script], { cwd: dir });
      assert.deepEqual(readdirSync(join(dir, 'dist')).sort(), ['.tsbuildinfo', 'ops']);
      assert.deepEqual(readdirSync(join(dir, 'dist/ops/cli')).sort(), [
        'main.d.ts',
        'main.js',
        'main.js.map',
      ]);
      assert.equal(statSync(join(dir, 'dist/ops/cli/main.js')).mode & 0o777, 0o755);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('has .ci/run do what README.md tells a new user, and lint, types and build', () => {
    assert.match(text('README.md'), /^npm ci && npm start\b.*\nnpm ci && npm test\b/m);
    const steps = [
      'npm ci --ignore-scripts',
      'npm run lint',
      'npm run typecheck',
      'npm run build',
      'npm test',
    ];
    for (const step of steps) {
      assert.match(text('.ci/run'), new RegExp(`^(step '.*'|suite) ${step}\\b`, 'm'));
      const [, script] = /^npm (?:run )?(\w+)$/.exec(step) ?? [];
      if (script !== undefined) assert.ok(script in manifest.scripts, script);
    }
  });
});
