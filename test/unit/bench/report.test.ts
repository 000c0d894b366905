import assert from 'node:assert/strict';
import { formatValue, isFailure, machineLines, makeReport, resultLines } from '../../../bench/report.js';
import type { Result } from '../../../bench/scenario.js';

const MACHINE = {
  cpu: 'A Processor',
  cores: 2,
  memoryBytes: 8 * 1024 ** 3,
  system: 'linux 6 x64',
  node: 'v20.20.2',
  date: '2026-01-02T03:04:05.678Z',
  commit: 'abcdef0',
  changed: true,
};

const RESULT: Result = {
  bus: 'flowbus',
  scenario: 'latency',
  case: '',
  conditions: { 'messages per s': 20_000 },
  figures: [
    {
      name: 'p50',
      unit: 'us',
      runs: [600, 400],
      median: 500,
      min: 400,
      max: 600,
      goal: { value: 450, at: 'most' },
      met: false,
    },
    {
      name: 'batch',
      unit: 'count',
      runs: [null, 2],
      median: null,
      min: null,
      max: null,
      goal: null,
      met: null,
    },
  ],
  account: { expected: 100, received: 99, lost: 1, repeated: 0 },
  notes: ['something to know'],
};

describe('the report', () => {
  it('writes values with their units', () => {
    assert.equal(formatValue(3_214_567, 'per second'), '3.21 M/s');
    assert.equal(formatValue(12_345, 'per second'), '12.3 k/s');
    assert.equal(formatValue(987, 'per second'), '987 /s');
    assert.equal(formatValue(134.4, 'ns'), '134 ns');
    assert.equal(formatValue(9.5 * 1024, 'bytes'), '9.50 KiB');
    assert.equal(formatValue(2.5 * 1024 ** 2, 'bytes'), '2.50 MiB');
    assert.equal(formatValue(3, 'count'), '3');
    assert.equal(formatValue(null, 'ms'), 'unknown');
  });

  it('says plainly that a goal was missed, and what was lost', () => {
    const lines = resultLines(RESULT);
    assert.equal(lines[1], '  messages per s: 20000 · runs: 2');
    assert.match(lines[3], /^ {2}latency P50 +500 µs +400 µs +600 µs +≤ 450 µs {2}NOT MET$/);
    assert.match(lines[4], /^ {2}frames per batch from agents +unknown +unknown +unknown$/);
    assert.equal(lines[5], '  messages lost: 1 of 100');
    assert.equal(lines[6], '  note: something to know');
  });

  it('names the machine, and the commit with what was changed', () => {
    assert.deepEqual(machineLines(MACHINE), [
      'A Processor · 2 cores · 8192 MiB · linux 6 x64',
      'Node v20.20.2 · 2026-01-02T03:04:05.678Z · commit abcdef0 with changes',
    ]);
    assert.match(machineLines({ ...MACHINE, commit: null })[1], /commit unknown$/);
  });

  it('is a failure when messages were lost or repeated, or a scenario was refused, not when a goal was missed', () => {
    const complete = { expected: 100, received: 100, lost: 0, repeated: 0 };
    const missed = { ...RESULT, account: complete };
    assert.equal(isFailure(makeReport(MACHINE, [missed], [])), false);
    assert.equal(isFailure(makeReport(MACHINE, [missed], ['no files'])), true);
    const twice = { ...RESULT, account: { ...complete, repeated: 1 } };
    assert.equal(isFailure(makeReport(MACHINE, [twice], [])), true);
  });

  it('adds up the losses of all results', () => {
    const report = makeReport(MACHINE, [RESULT, RESULT], ['connections: too few files']);
    assert.equal(report.lost, 2);
    assert.equal(report.repeated, 0);
    assert.equal(isFailure(report), true);
    assert.deepEqual(report.refused, ['connections: too few files']);
  });
});
