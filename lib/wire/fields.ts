/**
 * Takes an untrusted object apart, field by field: each method returns a value of the type that its name says, or
 * throws an error that names the field. Fields nobody asks for are ignored, so that newer peers may add some.
 */
import { type ErrorCode, FlowbusError } from '../errors.js';
import { fromHex, utf8Size } from './text.js';

/** Sizes of texts are in bytes of UTF-8. A field with a fallback may be absent. */
export class Fields {
  readonly #source: Record<string, unknown>;
  readonly #code: ErrorCode;
  readonly #where: string;

  /** `where` stands before the field's name in messages: "hello", "result.records[3]". */
  constructor(value: unknown, code: ErrorCode, where: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new FlowbusError(code, `${where} must be an object.`);
    }
    this.#source = value as Record<string, unknown>;
    this.#code = code;
    this.#where = where;
  }

  refuse(name: string, must: string): never {
    throw new FlowbusError(this.#code, `${this.#where}.${name} must be ${must}.`);
  }

  /** The value as it is; undefined when absent. Own fields only. */
  any(name: string): unknown {
    return Object.hasOwn(this.#source, name) ? this.#source[name] : undefined;
  }

  /** The object in a field; null when null or absent. */
  object(name: string): Fields | null {
    const value = this.any(name) ?? null;
    return value === null ? null : new Fields(value, this.#code, `${this.#where}.${name}`);
  }

  text(name: string, least: number, greatest: number, fallback?: string): string {
    const value = this.any(name);
    if (value === undefined && fallback !== undefined) return fallback;
    if (!fits(value, least, greatest)) this.refuse(name, `text of ${least} to ${greatest} bytes`);
    return value;
  }

  textOrNull(name: string, least: number, greatest: number): string | null {
    return (this.any(name) ?? null) === null ? null : this.text(name, least, greatest);
  }

  texts(
    name: string,
    count: number,
    least: number,
    greatest: number,
    fallback?: readonly string[],
  ): string[] {
    const value = this.any(name);
    if (value === undefined && fallback !== undefined) return [...fallback];
    if (!Array.isArray(value) || value.length > count)
      this.refuse(name, `an array of at most ${count} texts`);
    const texts: string[] = [];
    for (const item of value as unknown[]) {
      if (!fits(item, least, greatest))
        this.refuse(name, `an array of texts of ${least} to ${greatest} bytes`);
      texts.push(item);
    }
    return texts;
  }

  integer(name: string, least: number, greatest: number, fallback?: number): number {
    const value = this.any(name);
    if (value === undefined && fallback !== undefined) return fallback;
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > greatest) {
      this.refuse(name, `a whole number from ${least} to ${greatest}`);
    }
    return value as number;
  }

  integerOrNull(name: string, least: number, greatest: number): number | null {
    return (this.any(name) ?? null) === null ? null : this.integer(name, least, greatest);
  }

  boolean(name: string, fallback?: boolean): boolean {
    const value = this.any(name) ?? fallback;
    if (typeof value !== 'boolean') this.refuse(name, 'true or false');
    return value;
  }

  booleanOrNull(name: string): boolean | null {
    return (this.any(name) ?? null) === null ? null : this.boolean(name);
  }

  oneOf<T extends string>(name: string, choices: readonly T[], fallback?: T): T {
    const value = this.any(name) ?? fallback;
    const found = choices.find((choice) => choice === value);
    if (found === undefined) this.refuse(name, `one of ${choices.join(', ')}`);
    return found;
  }

  /** Bytes as such or in hexadecimal. The result is a copy. */
  bytesOrNull(name: string, least: number, greatest: number): Uint8Array | null {
    const value = this.any(name) ?? null;
    if (value === null) return null;
    const bytes =
      value instanceof Uint8Array ? new Uint8Array(value) : typeof value === 'string' ? fromHex(value) : null;
    if (bytes === null || bytes.length < least || bytes.length > greatest) {
      this.refuse(name, `hexadecimal of ${least} to ${greatest} bytes`);
    }
    return bytes;
  }

  /** An array of objects, each read by `read`. */
  objects<T>(name: string, count: number, read: (item: Fields) => T): T[] {
    const value = this.any(name);
    if (!Array.isArray(value) || value.length > count)
      this.refuse(name, `an array of at most ${count} objects`);
    return (value as unknown[]).map((item, i) => {
      return read(new Fields(item, this.#code, `${this.#where}.${name}[${i}]`));
    });
  }

  /** An object of texts, by names of at least one byte. */
  textsByName(name: string, count: number, nameSize: number, size: number): Record<string, string> | null {
    const value = this.any(name) ?? null;
    if (value === null) return null;
    const entries = typeof value === 'object' && !Array.isArray(value) ? Object.entries(value) : null;
    if (entries === null || entries.length > count) this.refuse(name, `an object of at most ${count} texts`);
    for (const [key, item] of entries) {
      if (!fits(key, 1, nameSize) || !fits(item, 0, size)) {
        this.refuse(name, `an object of texts: names of 1 to ${nameSize} bytes, values of at most ${size}`);
      }
    }
    return Object.fromEntries(entries) as Record<string, string>;
  }
}

function fits(value: unknown, least: number, greatest: number): value is string {
  // A text has at least as many bytes as UTF-16 units: long ones need no measuring.
  if (typeof value !== 'string' || value.length > greatest) return false;
  const size = utf8Size(value);
  return size >= least && size <= greatest;
}
