import assert from 'node:assert/strict';
import { MAX_OUTGOING_TOPICS, OutgoingTopics } from '../../../../lib/client/outgoing-topics.js';
import { checksumSeed } from '../../../../lib/wire/checksum.js';
import { LANE_COUNT } from '../../../../lib/wire/frame.js';
import { utf8 } from '../../../../lib/wire/text.js';

describe('OutgoingTopics', () => {
  it('knows what a frame needs', () => {
    const topics = new OutgoingTopics('planner-1');
    const topic = topics.get('ä.b');
    assert.deepEqual(topic.bytes, utf8('ä.b'));
    assert.equal(topic.seed >>> 0, checksumSeed('planner-1', 'ä.b'));
    assert.equal(topic.id, 0);
    assert.equal(topics.get('ä.b'), topic);
    assert.equal(topics.to('worker-7'), topics.get('_agent.worker-7'));
    assert.equal(topics.to('worker-7'), topics.get('_agent.worker-7'));
  });

  it('refuses bad topics, naming the problem', () => {
    const topics = new OutgoingTopics('me');
    assert.throws(() => topics.get('a..b'), { code: 'BAD_TOPIC', message: /"a\.\.b".*empty level/ });
    assert.throws(() => topics.get(''), { code: 'BAD_TOPIC' });
    assert.throws(() => topics.get(undefined as unknown as string), { code: 'BAD_TOPIC' });
    assert.throws(() => topics.to(''), { code: 'BAD_OPTION' });
  });

  it('keeps ids for topics that come later, and takes them back', () => {
    const topics = new OutgoingTopics('me');
    topics.announce(7, 'later');
    assert.equal(topics.get('later').id, 7);
    topics.announce(8, 'later');
    topics.withdraw(7, 'later');
    assert.equal(topics.get('later').id, 8);
    topics.withdraw(8, 'later');
    assert.equal(topics.get('later').id, 0);
    topics.announce(9, 'later');
    topics.forgetIds();
    assert.equal(topics.get('later').id, 0);
  });

  it('is bounded, keeps what is in use, and never gives a sequence number twice', () => {
    const topics = new OutgoingTopics('me');
    const used = topics.get('in.use');
    const first = topics.get('first');
    for (let i = 1; i <= 5; i++) assert.equal(first.next(2), i);
    topics.announce(3, 'first');
    for (let i = 0; i < 2 * MAX_OUTGOING_TOPICS; i++) {
      topics.get(`t.${i}`).next(3);
      topics.get('in.use');
      assert.ok(topics.size <= MAX_OUTGOING_TOPICS);
    }
    assert.equal(topics.get('in.use'), used);
    const again = topics.get('first');
    assert.notEqual(again, first);
    assert.equal(again.next(2), 6);
    assert.equal(again.next(0), 1);
    assert.equal(again.id, 3);
    topics.restartSequences();
    assert.equal(topics.get('first').next(2), 1);
    assert.equal(topics.get('brand.new').next(2), 1);
  });

  it('counts each lane for itself', () => {
    const topic = new OutgoingTopics('me').get('a');
    for (let lane = 0; lane < LANE_COUNT; lane++) {
      for (let i = 1; i <= lane + 1; i++) assert.equal(topic.next(lane), i);
    }
    for (let lane = 0; lane < LANE_COUNT; lane++) assert.equal(topic.next(lane), lane + 2);
  });

  it('makes none of 10,000 topics anew that are published to in turn', () => {
    const topics = new OutgoingTopics('me');
    const first = Array.from({ length: 10_000 }, (_, i) => topics.get(`t.${i}`));
    for (let round = 0; round < 2; round++) {
      for (const topic of first) assert.equal(topics.get(topic.text), topic);
    }
  });
});
