/** Writes the table of settings into ops/README.md: `npm run build && node dist/ops/cli/config-table.js`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { configTable } from '../../lib/config/index.js';

const README = new URL('../../../ops/README.md', import.meta.url);
const TABLE = /(?<=<!-- settings: begin -->\n).*(?=\n<!-- settings: end -->)/s;

const before = readFileSync(README, 'utf8');
if (!TABLE.test(before)) throw new Error('ops/README.md has lost the marks around its table of settings');
writeFileSync(
  README,
  before.replace(TABLE, () => configTable()),
);
