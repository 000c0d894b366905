/**
 * Checksums of the frames of a batch, a third faster than one by one: the batch is copied once into the memory of a small
 * WebAssembly module. Where that is not allowed (a page's content policy may forbid it), plain JavaScript does the same.
 */
import { checksumHolds, sealFrame, TABLE } from './checksum.js';
import { CHECKSUM_WASM } from './checksum-wasm.js';
import { DEFAULT_MAX_PAYLOAD, OFFSET_CHECKSUM, OFFSET_TOTAL, readU32 } from './frame.js';
import { fromBase64 } from './text.js';

const WINDOW = 65536;
/** Copying a batch costs as much as the checksums of two small frames. */
const WORTH_COPYING = 512;

interface Module {
  readonly memory: WebAssembly.Memory;
  /** The checksum of the frame of `total` bytes at `offset` of the memory, from `seed`: a signed integer. */
  frame(offset: number, total: number, seed: number): number;
  /** `sealFrames` of the memory. */
  seal(start: number, end: number): void;
}

function load(): Module | null {
  try {
    const instance = new WebAssembly.Instance(
      new WebAssembly.Module(fromBase64(CHECKSUM_WASM) as Uint8Array<ArrayBuffer>),
    );
    const module = instance.exports as unknown as Module;
    new Int32Array(module.memory.buffer, 0, TABLE.length).set(TABLE);
    return module;
  } catch {
    return null;
  }
}

const module = load();
const window = module === null ? null : new Uint8Array(module.memory.buffer, WINDOW, DEFAULT_MAX_PAYLOAD);
/** What the window holds a copy of. One for the whole process: whoever finds another batch there copies again. */
let copied: Uint8Array | null = null;

/** Whether the frame `batch[start, start + total)` bears the checksum that it must, from `seed`. */
export function batchChecksumHolds(batch: Uint8Array, start: number, total: number, seed: number): boolean {
  if (batch !== copied) {
    if (module === null || batch.length < WORTH_COPYING || batch.length > DEFAULT_MAX_PAYLOAD)
      return checksumHolds(batch, start, total, seed);
    window!.set(batch);
    copied = batch;
  }
  return readU32(batch, start + OFFSET_CHECKSUM) === module!.frame(WINDOW + start, total, seed) >>> 0;
}

/** Writes the checksums of the whole frames in `batch[start, end)`, each of which holds its seed where the checksum goes. */
export function sealFrames(batch: Uint8Array, start: number, end: number): void {
  const size = end - start;
  if (module === null || size < WORTH_COPYING || size > DEFAULT_MAX_PAYLOAD) {
    for (let at = start; at < end; ) {
      const total = readU32(batch, at + OFFSET_TOTAL);
      sealFrame(batch, at, total, readU32(batch, at + OFFSET_CHECKSUM));
      at += total;
    }
    return;
  }
  copied = null;
  window!.set(batch.subarray(start, end));
  module.seal(WINDOW, WINDOW + size);
  batch.set(window!.subarray(0, size), start);
}

/** The batch's memory may be used for another one: what was copied of it is worth nothing. */
export function forgetBatch(): void {
  copied = null;
}
