import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  type AgentQuery,
  type AgentRecord,
  type AgentState,
  Directory,
  MAX_PAGE,
  MAX_SCAN,
  publicRecord,
} from '../../../lib/directory.js';

function record(agentId: string, fields: Partial<AgentRecord> = {}): AgentRecord {
  return {
    agentId,
    agentType: 'agent',
    capabilities: [],
    node: 'n1',
    shard: 0,
    state: 'online',
    since: 1,
    metadata: '{}',
    session: `s-${agentId}`,
    epoch: 1,
    sender: 1,
    ...fields,
  };
}

function ids(records: readonly AgentRecord[]): string[] {
  return records.map((found) => found.agentId);
}

/** Every record that meets the query, page by page; `between` runs after each page. */
function all(directory: Directory, query: AgentQuery, limit: number, between?: () => void): AgentRecord[] {
  const records: AgentRecord[] = [];
  let cursor: string | null = null;
  do {
    const page = directory.query(query, cursor, limit);
    assert.ok(page.records.length <= limit);
    records.push(...page.records);
    cursor = page.cursor;
    between?.();
  } while (cursor !== null);
  return records;
}

describe('Directory', () => {
  it('keeps session, epoch and sender out of the public record', () => {
    const shown = publicRecord(record('a', { capabilities: ['ocr'] }));
    assert.deepEqual(shown, {
      agentId: 'a',
      agentType: 'agent',
      capabilities: ['ocr'],
      node: 'n1',
      shard: 0,
      state: 'online',
      since: 1,
      metadata: '{}',
    });
  });

  it('refuses senseless bounds', () => {
    assert.throws(() => new Directory({ capacity: 0 }), RangeError);
    assert.throws(() => new Directory({ offlineCapacity: 1.5 }), RangeError);
    assert.throws(() => new Directory({ offlineAge: -1 }), RangeError);
  });

  describe('two sessions of one agent', () => {
    const low = record('a', { session: 'low', epoch: 1, node: 'n2', shard: 3 });
    const ranks: [string, Partial<AgentRecord>][] = [
      ['epoch', { epoch: 2, node: 'n1', shard: 0 }],
      ['node', { epoch: 1, node: 'n3', shard: 0 }],
      ['shard', { epoch: 1, node: 'n2', shard: 4 }],
    ];
    for (const [what, fields] of ranks) {
      it(`are decided by ${what}, in either order of arrival`, () => {
        const high = record('a', { session: 'high', ...fields });
        for (const order of [
          [low, high],
          [high, low],
        ]) {
          const lost: [AgentRecord, AgentRecord][] = [];
          const directory = new Directory({ onLost: (loser, winner) => lost.push([loser, winner]) });
          assert.equal(directory.put(order[0], 0), 'added');
          assert.equal(directory.put(order[1], 0), order[1] === high ? 'replaced' : 'stale');
          assert.equal(directory.get('a'), high);
          assert.deepEqual(lost, [[low, high]]);
        }
      });
    }

    it('of equal rank: the later call wins', () => {
      const directory = new Directory();
      directory.put(low, 0);
      const later = { ...low, session: 'later' };
      assert.equal(directory.put(later, 0), 'replaced');
      assert.equal(directory.get('a'), later);
    });

    it('nobody loses when the other is offline, or is the same session', () => {
      const directory = new Directory({ onLost: () => assert.fail('nobody lost') });
      directory.put(low, 0);
      assert.equal(directory.put({ ...low, capabilities: ['x'] }, 0), 'replaced');
      assert.equal(directory.put({ ...low, epoch: 0 }, 0), 'stale');
      directory.setState('a', 'low', 'offline', 0);
      assert.equal(directory.put({ ...low, session: 'next', epoch: 2 }, 0), 'replaced');
      assert.equal(directory.put({ ...low, state: 'offline' }, 0), 'stale');
      assert.equal(directory.offline, 0);
    });

    it('one that lives elsewhere is not hidden by one that has ended, but may be by its own node’s', () => {
      const ended = record('a', { session: 'ended', epoch: 9, state: 'offline' });
      const far = record('a', { session: 'far', epoch: 1, node: 'far' });
      const directory = new Directory();
      directory.put(ended, 0);
      assert.equal(directory.put({ ...far, state: 'offline' }, 0), 'stale');
      assert.equal(directory.put(record('a', { session: 'late', epoch: 1 }), 0), 'stale');
      assert.equal(directory.put(far, 0), 'replaced');
      assert.equal(directory.get('a'), far);
      assert.equal(directory.offline, 0);
    });

    it('only the current one can be removed or changed', () => {
      const directory = new Directory();
      directory.put(low, 0);
      assert.equal(directory.setState('a', 'other', 'offline', 0), false);
      assert.equal(directory.remove('a', 'other'), false);
      assert.equal(directory.setState('b', 'low', 'offline', 0), false);
      assert.equal(directory.setState('a', 'low', 'suspect', 7.5), true);
      assert.deepEqual(directory.get('a'), { ...low, state: 'suspect', since: 7500 });
      assert.equal(low.state, 'online');
      assert.equal(directory.remove('a', 'low'), true);
      assert.equal(directory.remove('a', 'low'), false);
      assert.equal(directory.get('a'), null);
      assert.equal(directory.size, 0);
    });
  });

  describe('query', () => {
    it('combines its conditions', () => {
      const directory = new Directory();
      directory.put(record('a', { agentType: 't1', capabilities: ['ocr', 'plan', 'ocr'] }), 0);
      directory.put(record('b', { agentType: 't1', capabilities: ['plan'], state: 'suspect' }), 0);
      directory.put(record('c', { agentType: 't2', capabilities: ['ocr'], state: 'offline' }), 0);
      const asked = (query: AgentQuery) => ids(directory.query(query, null, 10).records);
      assert.deepEqual(asked({}), ['a', 'b', 'c']);
      assert.deepEqual(asked({ id: null, type: null, capability: null, online: null }), ['a', 'b', 'c']);
      assert.deepEqual(asked({ id: 'b' }), ['b']);
      assert.deepEqual(asked({ id: 'b', online: true }), []);
      assert.deepEqual(asked({ id: 'x' }), []);
      assert.deepEqual(asked({ type: 't1' }), ['a', 'b']);
      assert.deepEqual(asked({ type: 't3' }), []);
      assert.deepEqual(asked({ capability: 'ocr' }), ['a', 'c']);
      assert.deepEqual(asked({ capability: 'none' }), []);
      assert.deepEqual(asked({ type: 't1', capability: 'ocr' }), ['a']);
      assert.deepEqual(asked({ online: true }), ['a']);
      assert.deepEqual(asked({ online: false }), ['b', 'c']);
      directory.put(record('a', { agentType: 't2', capabilities: ['sum'] }), 0);
      assert.deepEqual(asked({ type: 't1' }), ['b']);
      assert.deepEqual(asked({ capability: 'ocr' }), ['c']);
      assert.deepEqual(asked({ type: 't2', capability: 'sum' }), ['a']);
    });

    it('holds the limit within its range and takes any cursor', () => {
      const directory = new Directory();
      for (let i = 0; i < MAX_PAGE + 5; i++) directory.put(record(`a${i}`), 0);
      for (const [limit, length] of [
        [0, 1],
        [-3, 1],
        [Number.NaN, 1],
        [2.9, 2],
        [1e9, MAX_PAGE],
      ]) {
        assert.equal(directory.query({}, null, limit).records.length, length);
      }
      assert.deepEqual(directory.query({}, 'zzz', 10), { records: [], cursor: null });
      assert.equal(directory.query({}, '', 10).records.length, 10);
      assert.deepEqual(ids(directory.query({ id: 'a1' }, 'a1', 10).records), []);
    });

    it('bounds what one call looks at', () => {
      const directory = new Directory();
      for (let i = 0; i < MAX_SCAN + 10; i++) directory.put(record(`a${String(i).padStart(6, '0')}`), 0);
      directory.put(record('z', { state: 'suspect' }), 0);
      const first = directory.query({ online: false }, null, 10);
      assert.deepEqual(first.records, []);
      assert.equal(first.cursor, `a${String(MAX_SCAN - 1).padStart(6, '0')}`);
      assert.deepEqual(ids(directory.query({ online: false }, first.cursor, 10).records), ['z']);
      directory.put(record('zz', { capabilities: ['rare'] }), 0);
      const both = [
        { type: 'agent', capability: 'rare' },
        { type: 'rare', capability: 'agent' },
      ];
      assert.deepEqual(ids(directory.query(both[0], null, 10).records), ['zz'], 'the shorter list is walked');
      for (const { agentId, session } of all(directory, {}, MAX_PAGE)) {
        directory.remove(agentId, session);
        directory.put(
          record(agentId, { agentType: agentId === 'zz' ? 'rare' : 'agent', capabilities: ['agent'] }),
          0,
        );
      }
      assert.deepEqual(ids(directory.query(both[1], null, 10).records), ['zz'], 'the shorter list is walked');
    });

    it('pages in order over thousands of records, added in any order', () => {
      const directory = new Directory();
      const names = Array.from({ length: 3000 }, (_, i) => `a${(i * 1789) % 3000}`);
      for (const name of names) directory.put(record(name), 0);
      assert.deepEqual(ids(all(directory, { type: 'agent' }, 7)), [...names].sort());
      for (const name of names.slice(0, 2000)) directory.remove(name, `s-${name}`);
      assert.deepEqual(ids(all(directory, {}, 100)), names.slice(2000).sort());
    });

    it('shows who stays exactly once, whoever comes and goes between pages', () => {
      const name = fc.integer({ min: 0, max: 30 }).map((i) => `a${i}`);
      fc.assert(
        fc.property(
          fc.uniqueArray(name),
          fc.array(fc.tuple(fc.boolean(), name, fc.constantFrom('x', 'y')), { maxLength: 60 }),
          fc.integer({ min: 1, max: 5 }),
          (present, changes, limit) => {
            const directory = new Directory();
            for (const id of present) directory.put(record(id, { capabilities: ['x'] }), 0);
            const stayed = new Set(present);
            let next = 0;
            const seen = ids(
              all(directory, { capability: 'x' }, limit, () => {
                for (const [put, id, capability] of changes.slice(next, next + 4)) {
                  if (put) directory.put(record(id, { capabilities: [capability] }), 0);
                  else directory.remove(id, `s-${id}`);
                  if (!put || capability !== 'x') stayed.delete(id);
                }
                next += 4;
              }),
            );
            assert.deepEqual(seen, [...new Set(seen)].sort());
            for (const id of stayed) assert.ok(seen.includes(id), `${id} was not shown`);
          },
        ),
        { numRuns: 300 },
      );
    });
  });

  describe('bounds', () => {
    it('keeps a limited number of offline records, the latest', () => {
      const directory = new Directory({ offlineCapacity: 2 });
      for (const id of ['a', 'b', 'c', 'd']) directory.put(record(id), 0);
      for (const id of ['b', 'a', 'c']) directory.setState(id, `s-${id}`, 'offline', 0);
      assert.deepEqual(ids(all(directory, {}, 10)), ['a', 'c', 'd']);
      assert.deepEqual([directory.size, directory.offline], [3, 2]);
      assert.deepEqual(ids(directory.removeNodeShard('n1', null, 0)), ['d']);
      assert.deepEqual(ids(all(directory, {}, 10)), ['c', 'd']);
    });

    it('forgets offline records by age, counted from the first word of it', () => {
      const directory = new Directory({ offlineAge: 100 });
      directory.put(record('a', { state: 'offline' }), 1000);
      directory.put(record('b'), 1000);
      directory.setState('b', 's-b', 'offline', 1050);
      directory.put(record('c'), 1000);
      directory.setState('c', 's-c', 'offline', 1000);
      directory.setState('c', 's-c', 'online', 1001);
      directory.put(record('a', { state: 'offline' }), 1090);
      assert.equal(directory.expire(1099), 0);
      assert.equal(directory.expire(1100), 1);
      assert.deepEqual(ids(all(directory, {}, 10)), ['b', 'c']);
      directory.setState('b', 's-b', 'offline', 1149);
      assert.equal(directory.expire(1150), 1);
      assert.equal(directory.expire(1e9), 0);
      assert.deepEqual(ids(all(directory, {}, 10)), ['c']);
    });

    it('counts the age anew for a new session', () => {
      const directory = new Directory({ offlineAge: 100 });
      directory.put(record('a', { state: 'offline' }), 1000);
      directory.put(record('a', { state: 'offline', session: 'next', epoch: 2 }), 1050);
      assert.equal(directory.expire(1149), 0);
      assert.equal(directory.expire(1150), 1);
    });

    it('makes room at the cost of the longest offline, and refuses new agents when all live', () => {
      const directory = new Directory({ capacity: 2 });
      directory.put(record('a'), 0);
      directory.put(record('b', { state: 'offline' }), 0);
      assert.equal(directory.put(record('c'), 0), 'added');
      assert.equal(directory.put(record('d'), 0), 'full');
      assert.equal(directory.put(record('a', { epoch: 2 }), 0), 'replaced');
      assert.deepEqual(ids(all(directory, {}, 10)), ['a', 'c']);
    });
  });

  it('marks the agents of a dead shard, or node, offline and says which', () => {
    const directory = new Directory();
    directory.put(record('a'), 0);
    directory.put(record('b', { shard: 1 }), 0);
    directory.put(record('c', { node: 'n2' }), 0);
    directory.put(record('d', { state: 'offline' }), 0);
    directory.put(record('e', { state: 'suspect' }), 0);
    directory.put(record('f'), 0);
    directory.put(record('f', { node: 'n2', epoch: 2 }), 0);
    const gone = directory.removeNodeShard('n1', 0, 9);
    assert.deepEqual(ids(gone), ['a', 'e']);
    assert.ok(gone.every((found) => found.state === 'offline' && found.since === 9000));
    assert.deepEqual(ids(directory.removeNodeShard('n1', null, 9)), ['b']);
    assert.deepEqual(directory.removeNodeShard('n9', null, 9), []);
    assert.deepEqual(ids(all(directory, { online: true }, 10)), ['c', 'f']);
  });

  it('agrees with a plain map through any history', () => {
    const states = fc.constantFrom<AgentState>('online', 'suspect', 'offline');
    const name = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
    const arbitraryRecord = fc
      .tuple(
        name,
        fc.constantFrom('t1', 't2'),
        fc.subarray(['x', 'y']),
        fc.constantFrom('n1', 'n2'),
        fc.nat(1),
        states,
        fc.constantFrom('s1', 's2'),
        fc.nat(2),
      )
      .map(([agentId, agentType, capabilities, node, shard, state, session, epoch]) =>
        record(agentId, { agentType, capabilities, node, shard, state, session, epoch }),
      );
    const step = fc.oneof(
      { weight: 4, arbitrary: arbitraryRecord },
      fc.tuple(name, fc.constantFrom('s1', 's2'), fc.option(states)),
      fc.constantFrom('n1', 'n2'),
    );
    const rank = (r: AgentRecord) => `${r.epoch} ${r.node} ${r.shard}`;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const directory = new Directory();
        const model = new Map<string, AgentRecord>();
        for (const change of steps) {
          if (typeof change === 'string') {
            for (const found of directory.removeNodeShard(change, 0, 0)) model.set(found.agentId, found);
          } else if (Array.isArray(change)) {
            const [agentId, session, state] = change;
            const known = model.get(agentId);
            const current = known !== undefined && known.session === session;
            if (state === null) {
              assert.equal(directory.remove(agentId, session), current);
              if (current) model.delete(agentId);
            } else {
              assert.equal(directory.setState(agentId, session, state, 0), current);
              if (current)
                model.set(agentId, { ...known, state, since: known.state === state ? known.since : 0 });
            }
          } else {
            const known = model.get(change.agentId);
            const expected =
              known === undefined
                ? 'added'
                : rank(change) < rank(known) && !revives(change, known)
                  ? 'stale'
                  : 'replaced';
            assert.equal(directory.put(change, 0), expected);
            if (expected !== 'stale') model.set(change.agentId, change);
          }
          assert.equal(directory.size, model.size);
          const offline = [...model.values()].filter((found) => found.state === 'offline');
          assert.equal(directory.offline, offline.length);
        }
        const sorted = [...model.values()].sort((a, b) => (a.agentId < b.agentId ? -1 : 1));
        for (const type of [null, 't1', 't2']) {
          for (const capability of [null, 'x', 'y']) {
            const expected = sorted.filter(
              (found) =>
                (type === null || found.agentType === type) &&
                (capability === null || found.capabilities.includes(capability)),
            );
            assert.deepEqual(all(directory, { type, capability }, 2), expected);
          }
        }
        directory.removeNodeShard('n1', null, 0);
        directory.removeNodeShard('n2', null, 0);
        assert.equal(directory.expire(1e9), model.size);
        assert.deepEqual(directory, new Directory());
      }),
      { numRuns: 300 },
    );
  });
});

function revives(change: AgentRecord, known: AgentRecord): boolean {
  return known.state === 'offline' && change.state !== 'offline' && known.node !== change.node;
}
