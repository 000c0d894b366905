/** What the two processes of a probe write into its first word, in this order. */
export const PROBE_START = 0x46420001;
export const PROBE_CHILD = 0x46420002;
export const PROBE_PARENT = 0x46420003;
/** One page. */
export const PROBE_BYTES = 4096;
