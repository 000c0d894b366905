import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  AGENT_PREFIX,
  agentAddress,
  agentIdProblem,
  capabilityAddress,
  capabilityProblem,
  decodeTopic,
  isReserved,
  isWildcard,
  matches,
  patternProblem,
  patternsOverlap,
  REPLY_PREFIX,
  topicProblem,
  topicRoot,
} from '../../../../lib/topics/topic.js';

const encoder = new TextEncoder();

/** The definition, word for word: a `**` is nothing, or takes one level and stays. */
function matchesByDefinition(pattern: string[], topic: string[]): boolean {
  if (pattern.length === 0) return topic.length === 0;
  const [first, ...rest] = pattern;
  if (first === '**') {
    return (
      matchesByDefinition(rest, topic) || (topic.length > 0 && matchesByDefinition(pattern, topic.slice(1)))
    );
  }
  return (
    topic.length > 0 && (first === '*' || first === topic[0]) && matchesByDefinition(rest, topic.slice(1))
  );
}

describe('topic text', () => {
  const sixteen = new Array(16).fill('a').join('.');

  it('accepts valid topics', () => {
    for (const topic of [
      'a',
      'agent.worker-7.task.assign',
      '_agent.x',
      'é.日本.😀',
      sixteen,
      'x'.repeat(255),
    ]) {
      assert.equal(topicProblem(topic), null, topic);
      assert.equal(patternProblem(topic), null, topic);
    }
  });

  const invalid: [string, RegExp][] = [
    ['', /empty/],
    ['.', /empty level \(level 1\)/],
    ['a.', /empty level \(level 2\)/],
    ['.a', /empty level \(level 1\)/],
    ['a..b', /empty level \(level 2\)/],
    ['a b', /whitespace at position 1/],
    ['a\tb', /whitespace/],
    ['a\u00a0', /whitespace/],
    ['a\u0085', /whitespace/],
    ['a\u3000', /whitespace/],
    ['\ufeffa', /whitespace at position 0/],
    ['a\u0000', /control character/],
    ['a\u001f', /control character/],
    ['a\u007f', /control character/],
    ['a\ud800', /surrogate/],
    ['a\udc00b', /surrogate/],
    ['\ud800\ud800', /surrogate/],
    [`${sixteen}.a`, /17 levels/],
    ['x'.repeat(256), /longer than 255 bytes/],
    ['é'.repeat(128), /longer than 255 bytes/],
    ['日'.repeat(86), /longer than 255 bytes/],
    ['😀'.repeat(64), /longer than 255 bytes/],
  ];
  it('says what is wrong with the others', () => {
    for (const [text, reason] of invalid) {
      assert.match(topicProblem(text) ?? 'valid', reason);
      assert.match(patternProblem(text) ?? 'valid', reason);
    }
    assert.match(topicProblem('a.*') ?? 'valid', /'\*' at position 2; only patterns may/);
  });

  it('measures bytes, not characters', () => {
    assert.equal(topicProblem(`${'é'.repeat(127)}x`), null);
    assert.equal(topicProblem('日'.repeat(85)), null);
    assert.equal(topicProblem(`${'😀'.repeat(63)}xyz`), null);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 120 }), (text) => {
        const reason = topicProblem(text);
        fc.pre(reason === null || reason.includes('bytes'));
        assert.equal(reason === null, encoder.encode(text).length <= 255);
      }),
    );
  });

  it('takes wildcards in patterns only as whole levels', () => {
    for (const pattern of ['*', '**', 'a.*.b', 'a.**.b', '**.a.**', '*.**.*']) {
      assert.equal(patternProblem(pattern), null, pattern);
    }
    for (const pattern of ['a*', '*a', 'a.b*', '***', 'a.***', '*a*', '**a.b', 'a.*b.c']) {
      assert.match(patternProblem(pattern) ?? 'valid', /'\*' inside a level/, pattern);
    }
  });

  it('limits agent ids', () => {
    for (const id of ['a', 'worker-7', 'x'.repeat(64), 'é'.repeat(32)])
      assert.equal(agentIdProblem(id), null, id);
    const bad: [string, RegExp][] = [
      ['', /empty/],
      ['a.b', /dot/],
      ['_a', /reserved/],
      ['flowbus', /reserved/],
      ['http', /reserved/],
      ['*', /'\*'/],
      ['a b', /whitespace/],
      ['x'.repeat(65), /longer than 64 bytes/],
      ['é'.repeat(33), /longer than 64 bytes/],
    ];
    for (const [id, reason] of bad) assert.match(agentIdProblem(id) ?? 'valid', reason);
  });

  it('knows roots, wildcards and reserved names', () => {
    assert.equal(topicRoot('a.b.c'), 'a');
    assert.equal(topicRoot('abc'), 'abc');
    assert.equal(isWildcard('a.*'), true);
    assert.equal(isWildcard('a.b'), false);
    assert.equal(agentAddress('w'), '_agent.w');
    assert.equal(capabilityAddress('ocr'), '_capability.ocr');
    assert.equal(capabilityProblem('image.ocr'), null);
    for (const capability of ['image ocr', 'ocr.*', '', 'a..b'])
      assert.match(capabilityProblem(capability)!, /^the address of the capability /);
    assert.ok(isReserved(AGENT_PREFIX) && isReserved(REPLY_PREFIX) && !isReserved('a._b'));
  });
});

describe('matches', () => {
  const cases: [string, string, boolean][] = [
    ['a.b', 'a.b', true],
    ['a.b', 'a', false],
    ['a', 'a.b', false],
    ['*', 'a', true],
    ['*', 'a.b', false],
    ['**', 'a.b.c', true],
    ['a.**', 'a', true],
    ['a.**', 'a.b.c', true],
    ['a.**', 'b', false],
    ['**.a', 'a', true],
    ['**.a', 'b.c.a', true],
    ['**.a', 'a.b', false],
    ['a.**.b', 'a.b', true],
    ['a.**.b', 'a.b.x.b', true],
    ['a.**.*.b', 'a.b', false],
    ['**.a.**.a.**', 'x.a.y', false],
    ['**.a.**.a.**', 'x.a.y.a', true],
    ['**', '_agent.x', false],
    ['*.x', '_agent.x', false],
    ['**._agent.x', '_agent.x', false],
    ['_agent.*', '_agent.x', true],
    ['a.*', 'a._b', true],
    ['**._b', 'a._b', true],
  ];
  it('follows the definition of * and **', () => {
    for (const [pattern, topic, expected] of cases) {
      assert.equal(matches(pattern, topic), expected, `${pattern} ${topic}`);
    }
  });

  it('agrees with the definition on every small pattern and topic', () => {
    const level = fc.constantFrom('a', 'b', '*', '**', '**');
    fc.assert(
      fc.property(
        fc.array(level, { minLength: 1, maxLength: 7 }),
        fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 8 }),
        (pattern, topic) => {
          assert.equal(matches(pattern.join('.'), topic.join('.')), matchesByDefinition(pattern, topic));
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('decodeTopic', () => {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  it('reads a section of the bytes', () => {
    const bytes = encoder.encode('..agent.é.😀..');
    assert.equal(decodeTopic(bytes, 2, bytes.length - 2), 'agent.é.😀');
    assert.equal(decodeTopic(bytes, 2, 7), 'agent');
    assert.equal(decodeTopic(bytes, 3, 3), '');
  });

  it('gives equal lengths different texts', () => {
    const bytes = encoder.encode('abcdef');
    const first = decodeTopic(bytes, 0, 3);
    assert.equal(decodeTopic(bytes, 3, 6), 'def');
    assert.equal(first, 'abc');
  });

  it('refuses what is not strict UTF-8, and what is too long', () => {
    const bad = [
      '80',
      'c0af',
      'c1bf',
      'e08080',
      'eda080',
      'edbfbf',
      'f0808080',
      'f4908080',
      'f5808080',
      'ff',
      'c3',
    ];
    for (const hex of [...bad, 'e282', 'f09f98', 'c328', 'e28228', '61c3']) {
      const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
      assert.equal(decodeTopic(bytes, 0, bytes.length), null, hex);
    }
    assert.equal(decodeTopic(encoder.encode('é'), 0, 1), null);
    assert.equal(decodeTopic(new Uint8Array(256).fill(97), 0, 256), null);
    assert.equal(decodeTopic(new Uint8Array(255).fill(97), 0, 255), 'a'.repeat(255));
  });

  it('agrees with the platform on any bytes', () => {
    const nearText = fc.array(
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 3 }).map((text) => [...encoder.encode(text)]),
        fc.uint8Array({ maxLength: 2 }).map((bytes) => [...bytes]),
        fc.constantFrom([0xe0], [0xed, 0xa0], [0xf0, 0x90], [0xf4, 0x8f], [0x80], [0xbf], [0xef, 0xbb, 0xbf]),
      ),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(nearText, (parts) => {
        const bytes = Uint8Array.from(parts.flat());
        let expected: string | null = null;
        try {
          expected = strict.decode(bytes);
        } catch {
          // Not UTF-8: expected stays null.
        }
        assert.equal(decodeTopic(bytes, 0, bytes.length), expected);
      }),
      { numRuns: 3000 },
    );
  });
});

describe('overlap of patterns', () => {
  it('is what some topic that both match proves', () => {
    const level = fc.constantFrom('a', 'b', '*', '**');
    const pattern = fc.array(level, { minLength: 1, maxLength: 3 }).map((levels) => levels.join('.'));
    // Two patterns of three levels each never need more than six.
    const topics: string[] = [];
    const grow = (prefix: string[]): void => {
      if (prefix.length > 0) topics.push(prefix.join('.'));
      if (prefix.length < 6) for (const name of ['a', 'b', 'c']) grow([...prefix, name]);
    };
    grow([]);
    fc.assert(
      fc.property(pattern, pattern, (a, b) => {
        const proof = topics.some((topic) => matches(a, topic) && matches(b, topic));
        assert.equal(patternsOverlap(a, b), proof, `${a} and ${b}`);
      }),
    );
  });
});
