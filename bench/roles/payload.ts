/** What the messages of a measurement bear: when they were due, and which they are. The rest is zeros. */

/** Bytes that a payload must have at least: 8 for the time, 4 for the number. */
export const LEAST_PAYLOAD = 12;

const NUMBER = 8;

export class Stamp {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** `due`: milliseconds of the machine's clock. */
  write(due: number, number: number): void {
    this.#view.setFloat64(0, due, true);
    this.#view.setUint32(NUMBER, number, true);
  }
}

export function readDue(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset, LEAST_PAYLOAD).getFloat64(0, true);
}

export function readNumber(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset, LEAST_PAYLOAD).getUint32(NUMBER, true);
}
