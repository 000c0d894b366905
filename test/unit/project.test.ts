import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

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
