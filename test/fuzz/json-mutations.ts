/** Operations of the JSON door that are nearly right. */
import type { Random } from './random.js';

const OPERATIONS = [
  '{"op":"publish","topic":"fuzz.a","data":{"x":[1,2,3]},"priority":"high","ttl":50,"headers":{"a":"b"},"ref":1}',
  '{"op":"publish","topic":"fuzz.b.c","data":"AAEC","encoding":"base64","key":"k"}',
  '{"op":"subscribe","patterns":["fuzz.*","fuzz.b.**"],"ref":2}',
  '{"op":"unsubscribe","pattern":"fuzz.*","ref":3}',
  '{"op":"send","to":"fuzz-1","data":"hello"}',
  '{"op":"request","to":"nobody","data":null,"timeout":20,"ref":4}',
  '{"op":"reply","replyTo":"_reply.n.1.x","correlation":"0011","data":1}',
  '{"op":"agents","type":"fuzz","online":true,"ref":5}',
  '{"op":"ping","ref":6}',
  '{"op":"hello","agentId":"fuzz-json","metadata":{"a":1}}',
];
const VALUES = [
  'null',
  '-1',
  '1e999',
  '""',
  '"\\ud800"',
  '[]',
  '{}',
  '[[[[[[[[]]]]]]]]',
  'true',
  '"fuzz.*"',
  '"_foo"',
  '{"__proto__":1}',
  '4294967296',
  '"\\u0000"',
];

/** A message for the JSON door; now and then not even UTF-8, which ends the connection. */
export function jsonMessage(random: Random): Buffer {
  const text = random.pick(OPERATIONS);
  switch (random.below(6)) {
    case 0: {
      // ASCII stays ASCII: the lowest bits are turned.
      const bytes = Buffer.from(text);
      for (let i = random.below(4); i >= 0; i--) bytes[random.below(bytes.length)] ^= 1 << random.below(7);
      return bytes;
    }
    case 1:
      return Buffer.from(text.slice(0, random.below(text.length)));
    case 2: {
      const fields = [...text.matchAll(/"\w+":("[^"]*"|\d+|null|true)/g)];
      const field = random.pick(fields)[0];
      const name = field.slice(0, field.indexOf(':'));
      return Buffer.from(text.replace(field, `${name}:${random.pick(VALUES)}`));
    }
    case 3:
      return Buffer.from(text.slice(0, -1) + random.pick(OPERATIONS).slice(1).replace(/^/, ','));
    case 4:
      return random.once(50) ? Buffer.from(random.bytes(random.below(60))) : Buffer.from(text);
    default:
      return Buffer.from(text);
  }
}
