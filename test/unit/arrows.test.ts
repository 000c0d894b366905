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

/** What loading the module loads at once: not what it imports for types only, nor with `import()`. */
function loadedBy(source: string): string[] {
  return importsOf(source.replace(/(?:^|\n)\s*(?:import|export) type\b[^;]*;|\bimport\([^)]*\)/g, ''));
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

/** From `entry` on: every file of the checkout, and whatever is imported from elsewhere. */
function reached(
  entry: string,
  imports: (source: string) => string[],
): { files: Set<string>; packages: Set<string> } {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string): void => {
    if (files.has(file)) return;
    files.add(file);
    for (const specifier of imports(readFileSync(join(ROOT, file), 'utf8'))) {
      if (specifier.startsWith('.')) visit(target(file, specifier));
      else packages.add(specifier);
    }
  };
  visit(entry);
  return { files, packages };
}

describe('import arrows', () => {
  it('finds every form of import', () => {
    const source = `import a from 'one';\nimport {\n  b,\n} from "two";\nexport * from './three.js';\nimport './four.js';\nawait import('five');\nimport type { X } from 'six';`;
    assert.deepEqual(importsOf(source).sort(), ['./four.js', './three.js', 'five', 'one', 'six', 'two']);
    assert.deepEqual(loadedBy(source).sort(), ['./four.js', './three.js', 'one', 'two']);
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
    const { files, packages } = reached('lib/client/browser.ts', importsOf);
    assert.deepEqual([...packages], []);
    assert.ok(files.size > 5);
  });

  it("users' entry loads neither koffi nor lmdb nor libp2p", () => {
    const { packages } = reached('lib/client/index.ts', importsOf);
    for (const heavy of packages) assert.ok(!/koffi|lmdb|libp2p|multiformats/.test(heavy), heavy);
  });

  it('libp2p is named in discovery/ alone, and of that only by what starts a mesh: the directory and the links are pure', () => {
    const isLibp2p = (name: string) => /libp2p|multiformats/.test(name);
    const named = Object.keys(ARROWS)
      .flatMap(sources)
      .filter((file) => importsOfFile(file).some(isLibp2p));
    assert.ok(named.length > 0);
    assert.deepEqual([...new Set(named.map((file) => file.split('/')[0]))], ['discovery']);
    for (const entry of ['discovery/replica.ts', 'discovery/link/links.ts', 'discovery/dialer.ts'])
      assert.deepEqual([...reached(entry, loadedBy).packages].filter(isLibp2p), [], entry);
  });

  it('a shard starts with few packages: none for the configuration, for tokens that nobody asks for, for all of metrics', () => {
    const { packages } = reached('shards/worker.ts', loadedBy);
    const fromNpm = [...packages].filter((name) => !name.startsWith('node:')).sort();
    assert.deepEqual(fromNpm, ['avsc', 'hashring', 'pino', 'prom-client/lib/registry.js', 'ws']);
  });

  it('the command line begins with the parser alone: what a command needs is loaded for it', () => {
    const { packages } = reached('ops/cli/main.ts', loadedBy);
    assert.deepEqual(
      [...packages].filter((name) => !name.startsWith('node:')),
      ['commander'],
    );
  });
});
