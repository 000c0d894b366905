import assert from 'node:assert/strict';
import { Deadlines, type Waiting } from '../../../../lib/client/deadlines.js';

interface Item extends Waiting {
  name: string;
}

function item(name: string): Item {
  return { name, deadline: 0, done: false };
}

describe('Deadlines', () => {
  it('tell what is late, each after its own time, and nothing that is done', async () => {
    const late: string[] = [];
    let told: () => void = () => {};
    const last = new Promise<void>((resolve) => {
      told = resolve;
    });
    const deadlines = new Deadlines<Item>(({ name }, timeout) => {
      late.push(`${name} ${timeout}`);
      if (name === 'long') told();
    });
    const done = item('done');
    deadlines.add(item('long'), 40, 1);
    deadlines.add(item('first'), 5, 2);
    deadlines.add(done, 5, 3);
    deadlines.add(item('second'), 5, 4);
    done.done = true;
    await last;
    assert.deepEqual(late, ['first 5', 'second 5', 'long 40']);
  });

  it('go on when somebody waits again as it is told', async () => {
    let times = 0;
    await new Promise<void>((resolve) => {
      const deadlines = new Deadlines<Item>(() => {
        if (++times === 3) resolve();
        else deadlines.add(item('again'), 1, 1);
      });
      deadlines.add(item('one'), 1, 1);
    });
    assert.equal(times, 3);
  });

  it('forget all when they are cleared', async () => {
    const late: string[] = [];
    const deadlines = new Deadlines<Item>(({ name }) => late.push(name));
    deadlines.add(item('cleared'), 1, 1);
    deadlines.clear();
    await new Promise<void>((resolve) => {
      const others = new Deadlines<Item>(() => resolve());
      others.add(item('later'), 5, 1);
    });
    assert.deepEqual(late, []);
  });
});
