import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commitOf, runToEnd, Worktree } from '../../../bench/worktree.js';

/** A build that says where it was, and one that does not end by itself. */
const BUILD = `node -e "require('node:fs').writeFileSync('built', require('node:fs').readFileSync('content'))"`;
const ENDLESS = 'node -e "setInterval(() => {}, 1000)"';

const NEVER = new AbortController().signal;

describe('a worktree', function () {
  this.timeout(30_000);
  let own: string;
  let root: string;
  let before: string | undefined;

  function git(...args: string[]): string {
    const as = ['-c', 'user.name=someone', '-c', 'user.email=someone@example.com'];
    return execFileSync('git', [...as, ...args], { cwd: root, encoding: 'utf8' }).trim();
  }

  function commit(content: string, build: string): string {
    writeFileSync(join(root, 'package.json'), JSON.stringify({ scripts: { build } }));
    writeFileSync(join(root, 'npm-shrinkwrap.json'), '{}');
    writeFileSync(join(root, 'content'), content);
    git('add', '--force', 'package.json', 'npm-shrinkwrap.json', 'content');
    git('commit', '--quiet', '--message', content);
    return git('rev-parse', 'HEAD');
  }

  beforeEach(() => {
    own = realpathSync(mkdtempSync(join(tmpdir(), 'fb-worktree-')));
    before = process.env.TMPDIR;
    process.env.TMPDIR = join(own, 'temporary');
    root = join(own, 'checkout');
    for (const folder of [process.env.TMPDIR, root]) mkdirSync(folder);
    git('init', '--quiet');
    mkdirSync(join(root, 'node_modules'));
    writeFileSync(join(root, 'node_modules', 'installed'), '');
  });
  afterEach(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    rmSync(own, { recursive: true, force: true });
  });

  function assertNothingLeft(): void {
    assert.deepEqual(readdirSync(join(own, 'temporary')), []);
    assert.equal(git('worktree', 'list').split('\n').length, 1);
  }

  it('is the commit, built, with the modules of the checkout, and leaves nothing', async () => {
    const first = commit('first', BUILD);
    commit('second', BUILD);
    writeFileSync(join(root, 'content'), 'changed');
    const worktree = await Worktree.build(root, first, NEVER, () => {});
    const built = (await runToEnd({ cwd: worktree.path }, 'cat', 'built')).out;
    assert.equal(built, 'first');
    assert.ok(existsSync(join(worktree.path, 'node_modules', 'installed')));
    await worktree.remove();
    assertNothingLeft();
    // What the link led to is not its own.
    assert.ok(existsSync(join(root, 'node_modules', 'installed')));
  });

  it('leaves nothing when the build fails, or is interrupted', async () => {
    const broken = commit('broken', 'exit 7');
    await assert.rejects(
      Worktree.build(root, broken, NEVER, () => {}),
      /"npm run build --silent" ended with/,
    );
    assertNothingLeft();
    const endless = commit('endless', ENDLESS);
    const interruption = new AbortController();
    const building = Worktree.build(root, endless, interruption.signal, () => {});
    setTimeout(() => interruption.abort(), 500);
    await assert.rejects(building, { name: 'AbortError' });
    assertNothingLeft();
  });

  it('knows which commits there are', async () => {
    const only = commit('only', BUILD);
    assert.equal(await commitOf(root, 'HEAD'), only);
    assert.equal(await commitOf(root, only.slice(0, 8)), only);
    for (const name of ['no-such', '--help', 'HEAD~9', '']) assert.equal(await commitOf(root, name), null);
    assert.equal(await commitOf(own, 'HEAD'), null);
  });
});
