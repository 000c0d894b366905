/** The records of ring-race.test.ts: each byte of the payload follows from the record's number. */

export function sizeOf(number: number): number {
  return (number * 37) % 150;
}

export function fillRecord(to: Uint8Array, number: number): void {
  const size = sizeOf(number);
  for (let i = 0; i < size; i++) to[i] = number + i;
}

export function isRecord(src: Uint8Array, start: number, end: number, number: number): boolean {
  if (end - start !== sizeOf(number)) return false;
  for (let i = start; i < end; i++) {
    if (src[i] !== ((number + i - start) & 0xff)) return false;
  }
  return true;
}
