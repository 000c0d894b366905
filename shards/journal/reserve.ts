/**
 * Room on the disk that is kept for when it is full: what frees room, that messages have left, must first be written. While it
 * is given away the journal takes no messages, or they would fill it.
 */
import { closeSync, openSync, statfsSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export const RESERVE_BYTES = 1024 * 1024;
const NAME = 'reserve';

export class Reserve {
  readonly #dir: string;
  readonly #path: string;
  isHeld: boolean;

  constructor(dir: string) {
    this.#dir = dir;
    this.#path = join(dir, NAME);
    this.isHeld = false;
  }

  /** Sets the room aside, if the disk has twice as much. */
  take(): void {
    if (this.isHeld) return;
    if (statSync(this.#path, { throwIfNoEntry: false })?.size === RESERVE_BYTES) {
      this.isHeld = true;
      return;
    }
    const { bavail, bsize } = statfsSync(this.#dir);
    if (bavail * bsize < 2 * RESERVE_BYTES) return;
    try {
      const fd = openSync(this.#path, 'w', 0o600);
      try {
        // Written, not only extended: a file with holes sets nothing aside.
        const zeros = Buffer.alloc(RESERVE_BYTES);
        for (let at = 0; at < RESERVE_BYTES; ) at += writeSync(fd, zeros, at);
        this.isHeld = true;
      } finally {
        closeSync(fd);
      }
    } catch {
      this.#remove();
    }
  }

  /** False when there is none to give. */
  give(): boolean {
    if (!this.isHeld) return false;
    this.isHeld = false;
    return this.#remove();
  }

  #remove(): boolean {
    try {
      unlinkSync(this.#path);
      return true;
    } catch {
      return false;
    }
  }
}
