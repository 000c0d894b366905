/** The other process of a probe: `node probe-child.js <file>`; exit code 0 when its compare-and-swap worked. */
import { mapFile } from './mmap.js';
import { PROBE_BYTES, PROBE_CHILD, PROBE_START } from './probe-words.js';

const words = new Int32Array(mapFile(process.argv[2], PROBE_BYTES));
process.exitCode = Atomics.compareExchange(words, 0, PROBE_START, PROBE_CHILD) === PROBE_START ? 0 : 1;
