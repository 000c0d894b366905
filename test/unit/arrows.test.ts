import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** dist/test/unit/arrows.test.js → the checkout. */
const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

/** Which folder may import from which others; each may import from itself. */
const ARROWS: Record<string, string[]> = {
  lib: [],
  shards: ['lib'],
  discovery: ['lib'],
  ops: ['lib', 'shards', 'discovery'],
  bench: ['lib', 'shards', 'discovery', 'ops'],
  test: ['lib', 'shards', 'discovery', 'ops', 'bench'],
};

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g;

function importsOf(source: string): string[] {
  return [...source.matchAll(IMPORT)].map((match) => match[1] ?? match[2] ?? match[3]);
}

function sources(folder: string): string[] {
  let entries: string[];
  try {
    entries = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  } catch {
    return [];
  }
  return entries.filter((file) => file.endsWith('.ts')).map((file) => join(folder, file));
}

function importsOfFile(file: string): string[] {
  return importsOf(readFileSync(join(ROOT, file), 'utf8'));
}

/** The file of the checkout that a relative import in `file` names. */
function target(file: string, specifier: string): string {
  return relative(ROOT, resolve(ROOT, dirname(file), specifier)).replace(/\.js$/, '.ts');
}

describe('import arrows', () => {
  it('finds every form of import', () => {
    const source = `import a from 'one';\nimport {\n  b,\n} from "two";\nexport * from './three.js';\nimport './four.js';\nawait import('five');\nimport type { X } from 'six';`;
    assert.deepEqual(importsOf(source).sort(), ['./four.js', './three.js', 'five', 'one', 'six', 'two']);
  });

  for (const [folder, allowed] of Object.entries(ARROWS)) {
    it(`${folder}/ imports from ${['itself', ...allowed].join(', ')} only`, () => {
      const wrong: string[] = [];
      for (const file of sources(folder)) {
        for (const specifier of importsOfFile(file)) {
          if (!specifier.startsWith('.')) continue;
          const top = target(file, specifier).split('/')[0];
          if (top !== folder && !allowed.includes(top)) wrong.push(`${file} → ${specifier}`);
        }
      }
      assert.deepEqual(wrong, []);
    });
  }

  it('the browser entry reaches no Node built-in, and of npm nothing', () => {
    const reached = new Set<string>();
    const outside: string[] = [];
    const visit = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const specifier of importsOfFile(file)) {
        if (specifier.startsWith('.')) visit(target(file, specifier));
        else outside.push(`${file} → ${specifier}`);
      }
    };
    visit('lib/client/browser.ts');
    assert.deepEqual(outside, []);
    assert.ok(reached.size > 5);
  });

  it("users' entry loads neither koffi nor lmdb nor libp2p", () => {
    const reached = new Set<string>();
    const packages = new Set<string>();
    const visit = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const specifier of importsOfFile(file)) {
        if (specifier.startsWith('.')) visit(target(file, specifier));
        else packages.add(specifier);
      }
    };
    visit('lib/client/index.ts');
    for (const heavy of packages) assert.ok(!/koffi|lmdb|libp2p/.test(heavy), heavy);
  });
});
