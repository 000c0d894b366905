import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { configTable } from '../../../lib/config/index.js';

const ROOT = new URL('../../../../', import.meta.url);

describe('ops/README.md', () => {
  const readme = readFileSync(new URL('ops/README.md', ROOT), 'utf8');

  it('has exactly the settings of the broker', () => {
    assert.ok(
      readme.includes(`<!-- settings: begin -->\n${configTable()}\n<!-- settings: end -->`),
      'run: npm run build && node dist/ops/cli/config-table.js',
    );
  });

  it('names every file of the command line', () => {
    const files = readdirSync(new URL('ops/cli/', ROOT)).filter((name) => name.endsWith('.ts'));
    assert.ok(files.length > 0 && existsSync(new URL('ops/cli/main.ts', ROOT)));
    for (const file of files) assert.ok(readme.includes(`\`${file}\``), file);
  });
});
