/**
 * Walks Avro bytes along their schema before avsc decodes them. avsc trusts the counts that it reads: five bytes
 * of array<null> become 67 million items, and a huge count of strings goes on past the end. The walk reads each
 * byte once, makes no values, and refuses what does not lie inside the bytes.
 */
import { isUtf8 } from 'node:buffer';
import avsc from 'avsc';
import { FlowbusError } from '../errors.js';

/** Nested records, arrays and unions in one value: keeps a recursive schema off the end of the stack. */
export const MAX_DEPTH = 64;
/** 64 bits in groups of seven. */
const MAX_VARINT = 10;
const PROTO = '__proto__';

function refuse(reason: string): never {
  throw new FlowbusError('BAD_CONTROL', `The Avro payload is malformed: ${reason}.`);
}

class Cursor {
  readonly bytes: Buffer;
  position: number;
  readonly end: number;
  depth: number;
  items: number;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.position = 0;
    this.end = bytes.length;
    this.depth = 0;
    this.items = 0;
  }

  get left(): number {
    return this.end - this.position;
  }

  skip(size: number): void {
    if (size > this.left) refuse('it ends early');
    this.position += size;
  }

  /** A zigzag varint. Refuses what a double cannot hold exactly. */
  long(): number {
    let half = 0;
    // The lowest bit is the sign: keeping it out leaves 53 bits for the magnitude.
    let scale = 0.5;
    let negative = false;
    for (let i = 0; i < MAX_VARINT; i++) {
      if (this.position >= this.end) refuse('it ends early');
      const byte = this.bytes[this.position++];
      if (i === 0) negative = (byte & 1) === 1;
      half += (i === 0 ? byte & 0x7e : byte & 0x7f) * scale;
      if (byte < 0x80) {
        const value = negative ? -half - 1 : half;
        if (!Number.isSafeInteger(value)) refuse('a number is out of range');
        return value;
      }
      scale *= 128;
    }
    refuse('a number is too long');
  }

  /** A long that may be `least` to `greatest`. */
  between(least: number, greatest: number): number {
    const value = this.long();
    if (value < least || value > greatest) refuse('a size, number or branch is out of range');
    return value;
  }

  /** Items of arrays and maps, over the whole value: arrays of empty arrays would multiply otherwise. */
  count(items: number): void {
    this.items += items;
    if (this.items > this.end) refuse('it has more items than bytes');
  }

  enter(): void {
    if (++this.depth > MAX_DEPTH) refuse(`it nests deeper than ${MAX_DEPTH} levels`);
  }

  leave(): void {
    this.depth--;
  }
}

type Step = (cursor: Cursor) => unknown;

/** Steps over a text and returns where it begins, behind its size. */
function skipText(cursor: Cursor): number {
  const size = cursor.between(0, cursor.left);
  const start = cursor.position;
  cursor.skip(size);
  if (!isUtf8(cursor.bytes.subarray(start, cursor.position))) refuse('a text is not UTF-8');
  return start;
}

/** avsc assigns map entries to a plain object, where this one name would set the prototype. */
function mapKey(cursor: Cursor): void {
  const start = skipText(cursor);
  const isProto =
    cursor.position - start === PROTO.length &&
    cursor.bytes.toString('latin1', start, cursor.position) === PROTO;
  if (isProto) refuse(`a map has the key ${PROTO}`);
}

/** The blocks of an array or map. An item that takes no bytes counts as one, which bounds what they decode into. */
function blocks(item: Step): Step {
  return (cursor) => {
    cursor.enter();
    for (;;) {
      let count = cursor.long();
      if (count === 0) break;
      let blockEnd = -1;
      if (count < 0) {
        count = -count;
        const size = cursor.between(0, cursor.left);
        blockEnd = cursor.position + size;
      }
      cursor.count(count);
      for (let i = 0; i < count; i++) item(cursor);
      if (blockEnd >= 0 && cursor.position !== blockEnd) refuse('a block has another size than it says');
    }
    cursor.leave();
  };
}

const PRIMITIVES: Record<string, Step> = {
  null: () => {},
  boolean: (cursor) => cursor.between(-1, 0),
  int: (cursor) => cursor.between(-0x80000000, 0x7fffffff),
  long: (cursor) => cursor.long(),
  /** avsc's name for a long with an implementation of its own, such as `exactLong`. */
  'abstract:long': (cursor) => cursor.long(),
  float: (cursor) => cursor.skip(4),
  double: (cursor) => cursor.skip(8),
  bytes: (cursor) => cursor.skip(cursor.between(0, cursor.left)),
  string: skipText,
};

function compile(type: avsc.Type, known: Map<avsc.Type, Step>): Step {
  const name = type.typeName;
  const primitive = PRIMITIVES[name];
  if (primitive !== undefined) return primitive;
  const seen = known.get(type);
  if (seen !== undefined) return seen;

  // A recursive type meets itself while it is being compiled, hence the detour.
  let step: Step = PRIMITIVES.null;
  known.set(type, (cursor) => step(cursor));
  if (type instanceof avsc.types.RecordType) {
    const fields = type.fields.map((field) => compile(field.type, known));
    step = (cursor) => {
      cursor.enter();
      for (const field of fields) field(cursor);
      cursor.leave();
    };
  } else if (type instanceof avsc.types.UnwrappedUnionType || type instanceof avsc.types.WrappedUnionType) {
    const branches = type.types.map((branch) => compile(branch, known));
    step = (cursor) => {
      cursor.enter();
      branches[cursor.between(0, branches.length - 1)](cursor);
      cursor.leave();
    };
  } else if (type instanceof avsc.types.ArrayType) {
    step = blocks(compile(type.itemsType, known));
  } else if (type instanceof avsc.types.MapType) {
    const value = compile(type.valuesType as avsc.Type, known);
    step = blocks((cursor) => {
      mapKey(cursor);
      value(cursor);
    });
  } else if (type instanceof avsc.types.EnumType) {
    const last = type.symbols.length - 1;
    step = (cursor) => cursor.between(0, last);
  } else if (type instanceof avsc.types.FixedType) {
    const size = type.size;
    step = (cursor) => cursor.skip(size);
  } else {
    throw new FlowbusError('BAD_OPTION', `Avro type ${name} is not supported.`);
  }
  return step;
}

/**
 * Longs over the whole range that a double holds exactly. avsc's own type counts the zigzag form in a double, where
 * the sign of numbers below -2^52 gets lost, without an error.
 */
export const exactLong = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer): number => Number(bytes.readBigInt64LE()),
  toBuffer: (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(value));
    return bytes;
  },
  fromJSON: (value: number): number => value,
  toJSON: (value: number): number => value,
  isValid: (value: unknown): boolean => Number.isSafeInteger(value),
  compare: (a: number, b: number): number => Math.sign(a - b),
});

/** A check for bytes of `type`: throws BAD_CONTROL unless they are exactly one value. */
export function avroCheck(type: avsc.Type): (bytes: Buffer) => void {
  const step = compile(type, new Map());
  return (bytes) => {
    const cursor = new Cursor(bytes);
    step(cursor);
    if (cursor.left > 0) refuse('bytes follow it');
  };
}
