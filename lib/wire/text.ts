/** Texts as bytes (UTF-8) and bytes as texts (hexadecimal, base64), without Node's Buffer: browsers load it. */
import { FlowbusError } from '../errors.js';

// Without ignoreBOM a leading U+FEFF would be dropped, and what was read could not be written again.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** The size of a text in UTF-8 (bytes), or -1 when it has a lone surrogate, which UTF-8 cannot express. */
export function utf8Size(text: string): number {
  let size = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) size += 1;
    else if ((unit & 0xf800) !== 0xd800) size += 2;
    else {
      if (unit >= 0xdc00 || (text.charCodeAt(i + 1) & 0xfc00) !== 0xdc00) return -1;
      size += 2;
      i++;
    }
  }
  return size;
}

/** Writes a text that `utf8Size` has measured; returns the offset behind it. */
export function writeUtf8(b: Uint8Array, o: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    let c = text.charCodeAt(i);
    if (c < 0x80) {
      b[o++] = c;
      continue;
    }
    if (c < 0x800) {
      b[o++] = 0xc0 | (c >> 6);
    } else {
      if ((c & 0xfc00) === 0xd800) {
        c = 0x10000 + ((c - 0xd800) << 10) + (text.charCodeAt(++i) - 0xdc00);
        b[o++] = 0xf0 | (c >> 18);
        b[o++] = 0x80 | ((c >> 12) & 63);
      } else {
        b[o++] = 0xe0 | (c >> 12);
      }
      b[o++] = 0x80 | ((c >> 6) & 63);
    }
    b[o++] = 0x80 | (c & 63);
  }
  return o;
}

/** Whether `b[start, end)` is well-formed UTF-8 (Unicode, table 3-7: no overlong forms, no surrogates). */
export function isUtf8(b: Uint8Array, start: number, end: number): boolean {
  let i = start;
  while (i < end) {
    const lead = b[i++];
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    const more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (end - i < more) return false;
    const second = b[i];
    const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    if (second < low || second > high) return false;
    for (let k = 1; k < more; k++) if ((b[i + k] & 0xc0) !== 0x80) return false;
    i += more;
  }
  return true;
}

/** The text of `b[start, end)`. Throws BAD_UTF8. */
export function readUtf8(b: Uint8Array, start: number, end: number): string {
  try {
    return decoder.decode(b.subarray(start, end));
  } catch (cause) {
    throw new FlowbusError('BAD_UTF8', undefined, { cause });
  }
}

/** The text of bytes that mostly are those of the time before: comparing a name is a tenth of decoding it. */
export class LastText {
  private bytes: Uint8Array;
  private text: string;

  constructor() {
    this.bytes = new Uint8Array(0);
    this.text = '';
  }

  /** The text of `b[start, end)`; null when that is not UTF-8. */
  read(b: Uint8Array, start: number, end: number): string | null {
    if (!equals(this.bytes, b, start, end)) {
      if (!isUtf8(b, start, end)) return null;
      this.text = readUtf8(b, start, end);
      this.bytes = b.slice(start, end);
    }
    return this.text;
  }
}

/** Whether `b[start, end)` are the bytes `a`. */
export function equals(a: Uint8Array, b: Uint8Array, start: number, end: number): boolean {
  if (a.length !== end - start) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[start + i]) return false;
  return true;
}

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Lower-case hexadecimal, two digits a byte. */
export function toHex(b: Uint8Array, start = 0, end = b.length): string {
  let text = '';
  for (let i = start; i < end; i++) text += HEX[b[i]];
  return text;
}

/** Bytes from hexadecimal of either case, or null when it is none. */
export function fromHex(text: string): Uint8Array | null {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.substring(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** Bytes that go into one call of `String.fromCharCode`: far below the engines' limit on arguments. */
const CHUNK = 4096;

/** Base64 with padding (RFC 4648, section 4). */
export function toBase64(b: Uint8Array, start = 0, end = b.length): string {
  let binary = '';
  for (let i = start; i < end; i += CHUNK) {
    binary += String.fromCharCode(...b.subarray(i, Math.min(i + CHUNK, end)));
  }
  return btoa(binary);
}

/** Bytes from base64, or null when it is none. */
export function fromBase64(text: string): Uint8Array | null {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
