import assert from 'node:assert/strict';
import { type Chart, chartsOf } from '../../../bench/chart.js';
import { formatValue, labelOf, makeReport } from '../../../bench/report.js';
import type { Figure, FigureShape, Result } from '../../../bench/scenario.js';
import { element } from '../../../bench/svg.js';

const MACHINE = {
  cpu: 'A <Processor> & "more"',
  cores: 2,
  memoryBytes: 8 * 1024 ** 3,
  system: 'linux 6 x64',
  node: 'v20.20.2',
  date: '2026-01-02T03:04:05.678Z',
  commit: 'abcdef0',
  changed: true,
};

function figure(name: string, unit: FigureShape['unit'], runs: (number | null)[], goal?: number): Figure {
  const known = runs.filter((value) => value !== null).sort((a, b) => a - b);
  const unknown = known.length < runs.length;
  return {
    name,
    unit,
    runs,
    median: unknown ? null : known[known.length >> 1],
    min: unknown ? null : known[0],
    max: unknown ? null : known[known.length - 1],
    goal: goal === undefined ? null : { value: goal, at: 'most' },
    met: goal === undefined || unknown ? null : known[known.length >> 1] <= goal,
  };
}

function result(scenario: string, of: string, figures: Figure[], more: Partial<Result> = {}): Result {
  return {
    bus: 'flowbus',
    scenario,
    case: of,
    conditions: { 'payload bytes': 64 },
    figures,
    account: { expected: 100, received: 100, lost: 0, repeated: 0 },
    notes: [],
    ...more,
  };
}

function percentiles(factor: number): Figure[] {
  return ['p50', 'p95', 'p99', 'p999'].map((name, index) =>
    figure(name, 'us', [factor * 10 ** index, factor * 20 * 10 ** index], name === 'p50' ? 100 : undefined),
  );
}

const RESULTS: readonly Result[] = [
  result('throughput', '1→1', [figure('delivered', 'per second', [3e6, 4e6, 5e6], 3.5e6)]),
  result('throughput', '1→10', [
    figure('delivered', 'per second', [9e6]),
    figure('batch', 'count', [null, 2]),
  ]),
  result('latency', '20000/s', [...percentiles(7), figure('jitter', 'us', [0, 0])]),
  result('latency', '100000/s', percentiles(0)),
  result('connections', '', [figure('memoryEach', 'bytes', [-2048])]),
  result('peers', '1→1', [figure('delivered', 'per second', [2e6])], {
    conditions: { version: '0.1.0' },
  }),
  result('peers', '1→1', [figure('delivered', 'per second', [1e6])], {
    bus: 'socket.io',
    conditions: { version: '4 & "<5>"' },
    account: { expected: 100, received: 88, lost: 12, repeated: 0 },
  }),
  result('peers', '1→1: flowbus against socket.io', [figure('delivered', 'ratio', [2])], { conditions: {} }),
  result('peers', 'request', [figure('requests', 'per second', [1000])]),
];

function chartsFor(results: readonly Result[]): Chart[] {
  return chartsOf(makeReport(MACHINE, [...results], []));
}

/** Every tag is closed by its own, attributes are quoted and come once, and what is left over is text. */
function assertWellFormed(xml: string): void {
  const open: string[] = [];
  const rest = xml.replace(
    /<(\/?)([a-zA-Z]+)((?: [\w:-]+="[^"<]*")*)(\/?)>/g,
    (_, end, name, attributes, empty) => {
      const names = [...(attributes as string).matchAll(/ ([\w:-]+)=/g)].map(([, key]) => key);
      assert.equal(new Set(names).size, names.length, attributes);
      if (end === '/') assert.equal(open.pop(), name);
      else if (empty === '') open.push(name);
      return '';
    },
  );
  assert.deepEqual(open, []);
  assert.doesNotMatch(rest, /[<>]/);
  assert.doesNotMatch(xml, /&(?!amp;|lt;|gt;|quot;)/);
}

describe('the charts', () => {
  const charts = chartsFor(RESULTS);
  const svgOf = (name: string): string => charts.find((chart) => chart.name === name)!.svg;

  it('are one for each scenario, and for each task of several buses', () => {
    assert.deepEqual(
      charts.map(({ name }) => name),
      ['throughput', 'latency', 'connections', 'peers-1-to-1', 'peers-request'],
    );
  });

  it('are well-formed, whatever the names hold, and stand by themselves', () => {
    for (const { svg } of charts) {
      assertWellFormed(svg);
      assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="\d+" height="\d+"/);
      assert.match(svg, /A &lt;Processor&gt; &amp; &quot;more&quot;/);
      assert.doesNotMatch(svg.replace('http://www.w3.org/2000/svg', ''), /https?:|href|url\(/);
    }
    assert.match(svgOf('peers-1-to-1'), /socket\.io 4 &amp; &quot;&lt;5&gt;&quot;/);
    assertWellFormed(chartsFor([result('throughput', 'a\u0000b\ud800', [figure('p50', 'us', [1])])])[0].svg);
  });

  it('hold every bus, case and figure, in its units, and no number that is none', () => {
    for (const { bus, scenario, case: of, figures } of RESULTS) {
      const task = of.split(': ')[0].replaceAll('→', '-to-');
      const svg = svgOf(scenario === 'peers' ? `peers-${task}` : scenario);
      assert.ok(svg.includes(bus), bus);
      assert.ok(svg.includes(of.split(': ')[1] ?? of), of);
      for (const { name, unit, median } of figures) {
        assert.ok(svg.includes(formatValue(median, unit)), `${scenario} ${of} ${name}`);
        if (!/^p\d/.test(name)) assert.ok(svg.includes(labelOf(name)), name);
      }
    }
    for (const { svg } of charts) assert.doesNotMatch(svg, /NaN|Infinity|undefined|null/);
    assert.match(svgOf('latency'), /P50.*P95.*P99.*P99\.9/);
  });

  it('mark goals and spread, and say what was lost', () => {
    assert.equal(svgOf('throughput').match(/class="goal"/g)?.length, 1);
    assert.equal(svgOf('throughput').match(/class="whisker"/g)?.length, 3);
    assert.match(svgOf('throughput'), /3\.00 M\/s – 5\.00 M\/s.*≤ 3\.50 M\/s {2}NOT MET/);
    assert.match(svgOf('peers-1-to-1'), /socket\.io[^<]*: 12 of 100 messages lost, 0 repeated/);
    assert.doesNotMatch(svgOf('throughput'), /messages lost/);
  });

  it('tell cases apart by the conditions in which they differ', () => {
    const [{ svg }] = chartsFor(
      [16, 1000].map((bytes) =>
        result('throughput', '1→1', [figure('delivered', 'per second', [bytes])], {
          conditions: { 'payload bytes': bytes, shards: 2 },
        }),
      ),
    );
    assert.match(svg, /1→1 · payload bytes: 16<.*1→1 · payload bytes: 1000</);
    assert.match(svg, /flowbus · shards: 2 · runs: 1</);
  });

  it('show over time what was measured again and again', () => {
    const series = [
      { name: 'memory', unit: 'bytes' as const, every: 1, runs: [[100e6, null, 101e6, 102e6], []] },
      { name: 'p50', unit: 'us' as const, every: 1, runs: [[0, 5, 10, 20], []] },
      { name: 'p99', unit: 'us' as const, every: 1, runs: [[50, 60, 9000, 70], [1]] },
      { name: 'missing', unit: 'count' as const, every: 1, runs: [[0, 0], [0]] },
    ];
    const [{ svg }] = chartsFor([result('soak', '', [figure('memoryEnd', 'bytes', [102e6])], { series })]);
    assertWellFormed(svg);
    assert.doesNotMatch(svg, /NaN|Infinity|undefined|null/);
    for (const words of ['latency P50, latency P99<', 'messages not there a second later: none', '4 s<'])
      assert.ok(svg.includes(words), words);
    // Memory is broken where it is unknown; each percentile has its runs.
    assert.equal(svg.match(/class="curve stroke0"/g)?.length, 2 + 1);
    assert.equal(svg.match(/class="curve stroke1"/g)?.length, 2);
  });

  it('are drawn also when nothing is known', () => {
    const unknown = ['p50', 'p95', 'p99', 'p999', 'max'].map((name) => figure(name, 'us', [null]));
    const [{ svg }] = chartsFor([result('latency', '1/s', unknown)]);
    assertWellFormed(svg);
    assert.equal(svg.match(/unknown/g)?.length, 5);
    assert.deepEqual(chartsFor([]), []);
  });

  it('are not drawn with what is no number', () => {
    assert.throws(() => element('line', { x1: Number.NaN }), /x1 = NaN/);
  });
});
