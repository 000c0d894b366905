/**
 * Every error that flowbus can report, once: the broker, the client, the documents and the tests read this table.
 * The codes are stable, and part of the wire contract. Nothing here may import from Node: browsers load it.
 */

/** Where an error is reported: a wire `error` frame, a `goaway` frame, the client SDK alone, start-up, or HTTP. */
export type ErrorPlace = 'wire' | 'goaway' | 'client' | 'start' | 'http';

export interface ErrorEntry {
  readonly where: ErrorPlace;
  /** The connection (wire, goaway) or the process (start) ends with it. */
  readonly fatal: boolean;
  /** The same attempt may succeed later, unchanged. */
  readonly retriable: boolean;
  /** What was wrong. */
  readonly summary: string;
  /** What to do about it. */
  readonly remedy: string;
  /** HTTP status, where the broker's HTTP side can answer with this code. */
  readonly httpStatus?: number;
}

function entry(
  where: ErrorPlace,
  fatal: boolean,
  retriable: boolean,
  summary: string,
  remedy: string,
  httpStatus?: number,
): ErrorEntry {
  return { where, fatal, retriable, summary, remedy, httpStatus };
}

const FATAL = true;
const GOES_ON = false;
const RETRY = true;
const FINAL = false;

export const ERRORS = {
  BAD_MAGIC: entry(
    'wire',
    FATAL,
    FINAL,
    'A frame does not begin with "FLOW".',
    'Send whole frames back to back, and nothing else, in a binary message.',
  ),
  BAD_VERSION: entry(
    'wire',
    FATAL,
    FINAL,
    'The frame has a version that this side does not speak.',
    'Use a client of protocol version 1.',
  ),
  BAD_SIZE: entry(
    'wire',
    FATAL,
    FINAL,
    'The sizes in the header contradict each other.',
    'Make total size equal to 40 + topic + extensions + payload.',
  ),
  TRUNCATED: entry(
    'wire',
    FATAL,
    FINAL,
    'The message ends inside a frame.',
    'Never split a frame over two WebSocket messages.',
  ),
  OVERSIZED: entry(
    'wire',
    FATAL,
    FINAL,
    'A frame or a message is larger than maxPayload.',
    'Keep frames and batches within the maxPayload of the welcome: no broker allows more than 64 KiB.',
    413,
  ),
  HELLO_REQUIRED: entry(
    'wire',
    FATAL,
    FINAL,
    'The first frame was not a hello.',
    'Send hello and await welcome before anything else.',
  ),
  FORGED_SENDER: entry(
    'wire',
    FATAL,
    FINAL,
    'A publish bears a sender number that is not its own.',
    'Use the sender number of the welcome.',
  ),
  UNAUTHORIZED: entry(
    'wire',
    FATAL,
    FINAL,
    'The token is missing, wrong, expired, or made for another agent.',
    'Obtain a valid token for this agentId, then connect again.',
    401,
  ),
  HELLO_TIMEOUT: entry('wire', FATAL, RETRY, 'No hello came in time.', 'Send hello right after the upgrade.'),
  BAD_HELLO: entry(
    'wire',
    FATAL,
    FINAL,
    'The hello is malformed, or names a forbidden agentId, type or capability.',
    'Correct the field that the message names.',
  ),

  BAD_TYPE: entry(
    'wire',
    GOES_ON,
    FINAL,
    'The frame type is unknown, or does not belong in this direction.',
    'Send only the types that PROTOCOL.md allows a client.',
  ),
  CHECKSUM_MISMATCH: entry(
    'wire',
    GOES_ON,
    RETRY,
    'The checksum does not fit the frame.',
    'Send it again. When it stays, compare seed and covered bytes with PROTOCOL.md.',
  ),
  BAD_FLAGS: entry(
    'wire',
    GOES_ON,
    FINAL,
    'A flag is unknown, unsupported, or contradicts the extensions, or the lane or encoding does not exist.',
    'Set just the flags that match the frame, a lane of 0 to 4 and an encoding of 0 to 3.',
  ),
  BAD_TOPIC: entry(
    'wire',
    GOES_ON,
    FINAL,
    'The topic is malformed.',
    'Use 1 to 16 dot-separated levels without "*", blanks or control characters, 255 bytes at most.',
    400,
  ),
  BAD_PATTERN: entry(
    'wire',
    GOES_ON,
    FINAL,
    'The pattern is malformed.',
    'Use "*" or "**" only as whole levels, otherwise follow the rules of topics.',
    400,
  ),
  BAD_UTF8: entry('wire', GOES_ON, FINAL, 'A text is not valid UTF-8.', 'Encode it as UTF-8.', 400),
  BAD_CONTROL: entry(
    'wire',
    GOES_ON,
    FINAL,
    'A control payload does not match its schema.',
    'Compare the field that the message names with PROTOCOL.md.',
    400,
  ),
  BAD_JSON: entry(
    'wire',
    GOES_ON,
    FINAL,
    'The text is not a JSON object of a known operation.',
    'Compare the field that the message names with PROTOCOL.md.',
    400,
  ),
  BAD_EXTENSION: entry(
    'wire',
    GOES_ON,
    FINAL,
    'The extensions are malformed: out of bounds, repeated, or of a wrong size.',
    'Write each as type, 16-bit length and value, once, within the limits of PROTOCOL.md.',
  ),
  UNKNOWN_EXTENSION: entry(
    'wire',
    GOES_ON,
    FINAL,
    'The frame has an unknown extension that may not be ignored.',
    'Leave it out, or use a type of 128 or more if it may be ignored.',
  ),
  UNKNOWN_TOPIC_ID: entry(
    'wire',
    GOES_ON,
    RETRY,
    'The topic id was not announced on this connection.',
    'Spell the topic out, and use ids only after their announcement on the same connection.',
  ),
  HELLO_REPEATED: entry(
    'wire',
    GOES_ON,
    FINAL,
    'A second hello came on this connection.',
    'Send hello once, and open a new connection to change what it says.',
  ),
  FORBIDDEN_TOPIC: entry(
    'wire',
    GOES_ON,
    FINAL,
    'This agent may not publish or subscribe there.',
    'Stay out of reserved topics, and ask for the right in the token where one is needed.',
    403,
  ),
  UNKNOWN_AGENT: entry(
    'wire',
    GOES_ON,
    RETRY,
    'Nobody takes this message: no agent has the address, or none subscribes.',
    'Look it up in the directory, or repeat when it is back.',
    404,
  ),
  MAILBOX_FULL: entry(
    'wire',
    GOES_ON,
    RETRY,
    'A mailbox that should take this assured message is full.',
    'Repeat it with the same message id when consumers have caught up, or raise the limits of the mailbox.',
    429,
  ),
  JOURNAL_FULL: entry(
    'wire',
    GOES_ON,
    RETRY,
    'The journal has no room for this message: its bound is reached, or the disk is full.',
    'Repeat it with the same message id later; give the disk room, or raise journalSize.',
    507,
  ),
  MAILBOX_UNAVAILABLE: entry(
    'wire',
    GOES_ON,
    RETRY,
    'The shard where the mailbox lives is down or does not answer; the message may or may not be stored.',
    'Repeat it with the same message id: a mailbox that has it already stores it once.',
    503,
  ),
  NO_JOURNAL: entry(
    'wire',
    GOES_ON,
    FINAL,
    'This broker keeps no journal, and so has no mailboxes.',
    'Start it with --data-dir, where the journal is to lie.',
    501,
  ),
  HISTORY_UNAVAILABLE: entry(
    'wire',
    GOES_ON,
    FINAL,
    'This broker keeps no history of topics that the pattern matches.',
    'Start it with --history and a pattern that covers them, such as **, and with links in shared memory; or subscribe without replay.',
    501,
  ),
  RETAINED_FULL: entry(
    'wire',
    GOES_ON,
    RETRY,
    'There is no room to retain one more value; nobody got the message.',
    'Clear values that nobody needs by publishing an empty payload with retain, or raise retainedSize.',
    507,
  ),
  NO_MAILBOX: entry(
    'wire',
    GOES_ON,
    RETRY,
    'No mailbox takes this assured message.',
    'Connect the agent with { mailbox: true }, or subscribe with { group } or to { capability }, before messages are published.',
    404,
  ),
  LIMIT_REACHED: entry(
    'wire',
    GOES_ON,
    RETRY,
    'A limit of this connection or node is used up.',
    'Give something back (subscriptions, connections) or raise the limit that the message names.',
    429,
  ),

  AGENT_REPLACED: entry(
    'goaway',
    FATAL,
    FINAL,
    'The same agentId connected again, and the newer connection wins.',
    'Give every running agent its own agentId.',
  ),
  HEARTBEAT_TIMEOUT: entry(
    'goaway',
    FATAL,
    RETRY,
    'Nothing came for three heartbeat intervals.',
    'Connect again, and ping more often than the heartbeat interval.',
  ),
  SHUTTING_DOWN: entry(
    'goaway',
    FATAL,
    RETRY,
    'The broker is shutting down.',
    'Connect again, to another node if there is one.',
    503,
  ),
  SLOW_READER: entry(
    'goaway',
    FATAL,
    FINAL,
    'The connection does not read the answers that it asks for.',
    'Read what the broker sends, or ask for less.',
  ),

  TIMEOUT: entry(
    'client',
    GOES_ON,
    RETRY,
    'No answer came in time.',
    'Repeat if the work is safe to repeat, or allow a longer timeout.',
    504,
  ),
  CLOSED: entry('client', GOES_ON, FINAL, 'The agent was closed.', 'Connect a new one.'),
  BUFFER_FULL: entry(
    'client',
    GOES_ON,
    RETRY,
    'The buffer for outgoing messages is full.',
    'Await drained() and publish again.',
  ),
  CONNECT_FAILED: entry(
    'client',
    GOES_ON,
    RETRY,
    'No broker could be reached.',
    'Check the URLs, and that the broker runs and listens there.',
  ),
  NO_WEBSOCKET: entry(
    'client',
    GOES_ON,
    FINAL,
    'This runtime has no WebSocket of its own, as browsers have.',
    "Import 'flowbus' instead of 'flowbus/browser'.",
  ),
  PAYLOAD_TOO_LARGE: entry(
    'client',
    GOES_ON,
    FINAL,
    'The message does not fit into maxPayload.',
    'Split it, or send a reference to it: with topic and options a message is 64 KiB at most, less where maxPayload is less.',
    413,
  ),
  BAD_OPTION: entry(
    'client',
    GOES_ON,
    FINAL,
    'An option or argument is wrong.',
    'Correct what the message names.',
  ),
  DISCONNECTED: entry(
    'client',
    GOES_ON,
    RETRY,
    'The connection broke before the answer came.',
    'Repeat once the agent is connected again, if the work is safe to repeat.',
  ),
  HANDLER_FAILED: entry(
    'client',
    GOES_ON,
    FINAL,
    'A message handler threw, here or at the agent that was asked.',
    'Read the cause or the message, and mend the handler.',
  ),

  PORT_IN_USE: entry(
    'start',
    FATAL,
    RETRY,
    'Another process listens on the port.',
    'Stop that process or choose another port.',
  ),
  BAD_CONFIG: entry(
    'start',
    FATAL,
    FINAL,
    'The configuration is wrong.',
    'Correct the setting that the message names.',
  ),
  DATA_DIR_UNWRITABLE: entry(
    'start',
    FATAL,
    FINAL,
    'The data directory cannot be written.',
    'Create it and give it to the user that runs flowbus, or name another.',
  ),
  DATA_DIR_IN_USE: entry(
    'start',
    FATAL,
    RETRY,
    'Another broker keeps its journals in the data directory.',
    'Stop it, or give each broker a directory of its own.',
  ),
  NODE_NAME_TAKEN: entry(
    'start',
    GOES_ON,
    RETRY,
    'Two nodes of the cluster have the same name.',
    'Give each node a name of its own (node).',
  ),
  MESH_LISTEN_FAILED: entry(
    'start',
    FATAL,
    RETRY,
    'The mesh cannot listen on its address.',
    'Stop what listens there, or choose another address or port for the mesh.',
  ),
  BAD_NODE_ADDRESS: entry(
    'start',
    FATAL,
    FINAL,
    'The address of a node is malformed.',
    'Write host:port, or a multiaddr as /ip4/10.0.0.1/tcp/8090.',
  ),
  BAD_IDENTITY: entry(
    'start',
    FATAL,
    FINAL,
    "The node's identity in the data directory cannot be read or written.",
    'Make the file that the message names readable and writable, or remove it, and the node is another one.',
  ),
  SHARED_MEMORY_FULL: entry(
    'start',
    FATAL,
    FINAL,
    'The shared memory is too small.',
    'Provide the size that the message names (containers: --shm-size), or run fewer shards or smaller rings.',
  ),
  UNSAFE_LISTEN: entry(
    'start',
    FATAL,
    FINAL,
    'The broker would listen beyond this machine without authentication.',
    'Configure authSecret, or listen on 127.0.0.1, or allow it explicitly.',
  ),

  FORBIDDEN_ORIGIN: entry(
    'http',
    GOES_ON,
    FINAL,
    'This web page may not connect to the broker.',
    'Add its origin to allowedOrigins.',
    403,
  ),
  FORBIDDEN_HOST: entry(
    'http',
    GOES_ON,
    FINAL,
    'The Host header names no host that this broker answers to without tokens.',
    'Use a loopback address or the configured host, or add an origin of that host to allowedOrigins, or configure authSecret.',
    403,
  ),
  INTERNAL: entry(
    'http',
    GOES_ON,
    RETRY,
    'The broker failed to handle the request.',
    "Look into the broker's log.",
    500,
  ),
  NOT_FOUND: entry(
    'http',
    GOES_ON,
    FINAL,
    'There is nothing at this path.',
    'Compare the path with the documentation.',
    404,
  ),
  METHOD_NOT_ALLOWED: entry(
    'http',
    GOES_ON,
    FINAL,
    'The path exists, but not for this method.',
    'Use the method that the Allow header names.',
    405,
  ),
  MESH_OFF: entry(
    'http',
    GOES_ON,
    FINAL,
    'This node is part of no cluster.',
    'Start it with --join, --mdns or --mesh-port.',
    501,
  ),
  MESH_DOWN: entry(
    'http',
    GOES_ON,
    RETRY,
    'The mesh worker of this node is down, or does not answer.',
    'Try again: it is started again by itself, and the log of the node says why it ended.',
    503,
  ),
  OVERLOADED: entry(
    'http',
    GOES_ON,
    RETRY,
    'The broker has too much to do right now.',
    'Try again after the time that the Retry-After header names.',
    503,
  ),
  BAD_UPGRADE: entry(
    'http',
    GOES_ON,
    FINAL,
    'The upgrade request is no handshake of WebSocket version 13.',
    'Let a WebSocket client make it: GET, with Upgrade: websocket, Sec-WebSocket-Key and Sec-WebSocket-Version.',
    400,
  ),
  UPGRADE_TIMEOUT: entry(
    'http',
    GOES_ON,
    RETRY,
    'The upgrade request did not arrive in time.',
    'Send the whole request at once.',
    408,
  ),
  UPGRADE_TOO_LARGE: entry(
    'http',
    GOES_ON,
    FINAL,
    'The upgrade request is too large.',
    'Send fewer or shorter headers, and the token in hello.',
    431,
  ),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** Whether a text that came over the wire is a code of this version. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** The entry of a code, with the optional fields in reach. */
export function errorEntry(code: ErrorCode): ErrorEntry {
  return ERRORS[code];
}

/**
 * The one error type of flowbus. `code` is stable and meant for programs, `message` is meant for people.
 * Without a message it says what was wrong and what to do about it.
 */
export class FlowbusError extends Error {
  readonly code: ErrorCode;
  /** The connection or process ends with it. */
  readonly fatal: boolean;
  /** The same attempt may succeed later, unchanged. */
  readonly retriable: boolean;

  constructor(code: ErrorCode, message?: string, options?: { cause?: unknown }) {
    const { fatal, retriable, summary, remedy } = ERRORS[code];
    super(message ?? `${summary} ${remedy}`, options);
    this.name = 'FlowbusError';
    this.code = code;
    this.fatal = fatal;
    this.retriable = retriable;
  }
}

/** What was thrown, as one line. */
export function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
