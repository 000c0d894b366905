/**
 * Reading just as much of a new connection as placing it takes: the request line, for the agentId in its query.
 * Everything read here goes to the shard as it came.
 */

/** The longest request line, with the line ends that may come before it (bytes). */
export const MAX_REQUEST_LINE = 8192;

/** An agentId has 1 to 64 bytes; a longer one in the URL is refused at hello and gets no place of its own. */
const MAX_AGENT_ID = 64;

const CR = 0x0d;
const LF = 0x0a;
const FIRST_CAPACITY = 512;

/** `more`: no whole line yet. `line`: it is there. `too-large`: it will not fit. Both of these are final. */
export type PeekProgress = 'more' | 'line' | 'too-large';

export class RequestPeek {
  #bytes: Buffer;
  #length: number;
  /** Where the line begins: HTTP lets line ends come before it. −1 while nothing else came. */
  #lineStart: number;
  #lineEnd: number;

  constructor() {
    this.#bytes = Buffer.alloc(0);
    this.#length = 0;
    this.#lineStart = -1;
    this.#lineEnd = -1;
  }

  /** Takes the next bytes of the connection. Keeps all of them, also those behind the line. */
  push(chunk: Buffer): PeekProgress {
    const scanFrom = this.#length;
    this.#append(chunk);
    let at = scanFrom;
    const limit = Math.min(this.#length, MAX_REQUEST_LINE);
    if (this.#lineStart < 0) {
      while (at < limit && (this.#bytes[at] === CR || this.#bytes[at] === LF)) at++;
      if (at < limit) this.#lineStart = at;
    }
    if (this.#lineStart >= 0) {
      const end = this.#bytes.subarray(0, limit).indexOf(LF, at);
      if (end >= 0) {
        this.#lineEnd = end;
        return 'line';
      }
    }
    return this.#length >= MAX_REQUEST_LINE ? 'too-large' : 'more';
  }

  /** All bytes so far. */
  get head(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** The request line without its end; empty before `line`. */
  get requestLine(): string {
    if (this.#lineEnd < 0) return '';
    const end = this.#bytes[this.#lineEnd - 1] === CR ? this.#lineEnd - 1 : this.#lineEnd;
    return this.#bytes.toString('latin1', this.#lineStart, end);
  }

  /**
   * The usual request comes in one piece and is not copied. Pieces are put together in one buffer, for a list of
   * them would let a client that sends byte by byte occupy a hundred times what it sent.
   */
  #append(chunk: Buffer): void {
    if (this.#length === 0) {
      this.#bytes = chunk;
      this.#length = chunk.length;
      return;
    }
    const length = this.#length + chunk.length;
    if (length > this.#bytes.length) {
      let capacity = Math.max(FIRST_CAPACITY, this.#bytes.length);
      while (capacity < length) capacity *= 2;
      const grown = Buffer.allocUnsafeSlow(capacity);
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length = length;
  }
}

/**
 * The `agentId` in the query of a request line, decoded; null without one, and for one that no agent can have.
 * Any text at all may be given.
 */
export function agentIdOf(requestLine: string): string | null {
  const targetStart = requestLine.indexOf(' ') + 1;
  const targetEnd = requestLine.indexOf(' ', targetStart);
  const target = requestLine.slice(targetStart, targetEnd < 0 ? undefined : targetEnd);
  const query = target.indexOf('?');
  if (query < 0) return null;
  const agentId = new URLSearchParams(target.slice(query + 1)).get('agentId');
  if (agentId === null || agentId === '' || Buffer.byteLength(agentId) > MAX_AGENT_ID) return null;
  return agentId;
}
