import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareDataDir } from '../../../../lib/config/index.js';

describe('data directory', () => {
  let dir: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-data-'));
  });

  after(() => {
    rmSync(dir, { recursive: true });
  });

  it('is created, for its owner only', () => {
    const path = prepareDataDir(join(dir, 'a', 'b'));
    assert.equal(path, join(dir, 'a', 'b'));
    assert.equal(statSync(path).mode & 0o777, 0o700);
    assert.equal(prepareDataDir(path), path);
  });

  it('is refused where it cannot be', () => {
    writeFileSync(join(dir, 'file'), '');
    for (const path of [join(dir, 'file'), join(dir, 'file', 'below')]) {
      assert.throws(() => prepareDataDir(path), {
        code: 'DATA_DIR_UNWRITABLE',
        message: `data directory ${JSON.stringify(path)}: a part of the path is a file`,
      });
    }
    // Not even root can make a directory there.
    assert.throws(() => prepareDataDir('/proc/flowbus'), {
      code: 'DATA_DIR_UNWRITABLE',
      message: /^data directory/,
    });
  });
});
