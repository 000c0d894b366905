/** Names of sessions. Who knows one may resume it, so they are secrets. */
import { randomFillSync } from 'node:crypto';

const NAME_BYTES = 12;
/** Drawn at a time, since each draw is slow. */
const NAMES = 64;

const drawn = Buffer.alloc(NAMES * NAME_BYTES);
let at = drawn.length;

/** 16 characters of base64url, 96 bits of chance. */
export function newSessionName(): string {
  if (at === drawn.length) {
    randomFillSync(drawn);
    at = 0;
  }
  at += NAME_BYTES;
  return drawn.toString('base64url', at - NAME_BYTES, at);
}
