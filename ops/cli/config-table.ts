/** Writes the tables of settings and metrics into ops/README.md: `npm run build && node dist/ops/cli/config-table.js`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { configTable } from '../../lib/config/index.js';
import { metricsTable } from './metrics-table.js';

const README = new URL('../../../ops/README.md', import.meta.url);

function withTable(text: string, name: string, table: string): string {
  const place = new RegExp(`(?<=<!-- ${name}: begin -->\n).*(?=<!-- ${name}: end -->)`, 's');
  if (!place.test(text)) throw new Error(`ops/README.md has lost the marks around its table of ${name}`);
  return text.replace(place, () => `${table}\n`);
}

const before = readFileSync(README, 'utf8');
writeFileSync(
  README,
  withTable(withTable(before, 'settings', configTable()), 'metrics', await metricsTable()),
);
