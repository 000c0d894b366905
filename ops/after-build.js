/**
 * Behind tsc, which never deletes: what it once made of a source that has moved would go on being tested and packed.
 * And the command line gets its execute bit.
 */
import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs';

const OUTPUTS = ['.js', '.js.map', '.d.ts'];

for (const file of readdirSync('dist', { recursive: true, encoding: 'utf8' })) {
  if (!file.endsWith('.js')) continue;
  const name = file.slice(0, -'.js'.length);
  if (existsSync(`${name}.ts`)) continue;
  for (const output of OUTPUTS) rmSync(`dist/${name}${output}`, { force: true });
}
chmodSync('dist/ops/cli/main.js', 0o755);
