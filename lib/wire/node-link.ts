/** What nodes say to each other on their link and nobody else says. PROTOCOL.md has the rest: they speak the frames of agents. */
import { sealFrame } from './checksum.js';
import { Encoding, FrameType, HEADER_SIZE, viewOf, writeHeader } from './frame.js';

const HOLD_FRAME = HEADER_SIZE + 1;

/** Says that a taker here is full: no more credit for the sender with this number of yours; or that it may go on. */
export function holdFrame(sender: number, held: boolean): Uint8Array {
  const frame = new Uint8Array(HOLD_FRAME);
  const { bytes } = Encoding;
  writeHeader(viewOf(frame), 0, FrameType.hold, 0, 0, bytes, HOLD_FRAME, 1, 0, 0, 0, 0, sender);
  frame[HEADER_SIZE] = held ? 1 : 0;
  sealFrame(frame, 0, HOLD_FRAME, 0);
  return frame;
}
