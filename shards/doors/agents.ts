/** A page of the directory, as every door shows it. */
import { type Directory, publicRecord } from '../../lib/directory.js';
import type { Query, Result } from '../../lib/wire/control.js';
import { type JsonAgentRecord, jsonRecord } from '../../lib/wire/json.js';

interface JsonPage {
  records: JsonAgentRecord[];
  cursor: string | null;
}

/** The most records in one page. */
const MOST = 500;
/** Bytes kept free for a frame's header and the cursor, and what a record takes beside its texts. */
const FRAME_MARGIN = 512;
const RECORD_MARGIN = 192;

/** At most `limit` records, in at most `maxBytes` of JSON or Avro; the cursor leads on. */
export function agentPage(directory: Directory, query: Query, maxBytes: number, limit = MOST): Result {
  const page = directory.query(query, query.cursor, Math.min(limit, MOST));
  const records = page.records.map(publicRecord);
  let bytes = FRAME_MARGIN;
  for (let i = 0; i < records.length; i++) {
    bytes += RECORD_MARGIN + Buffer.byteLength(JSON.stringify(records[i]));
    if (bytes <= maxBytes || i === 0) continue;
    return { records: records.slice(0, i).map(mutable), cursor: records[i - 1].agentId };
  }
  return { records: records.map(mutable), cursor: page.cursor };
}

/** The same for readers of JSON: metadata is what its agent gave, not a text of that. */
export function jsonPage(directory: Directory, query: Query, maxBytes: number, limit = MOST): JsonPage {
  const { records, cursor } = agentPage(directory, query, maxBytes, limit);
  return { records: records.map(jsonRecord), cursor };
}

function mutable(record: ReturnType<typeof publicRecord>): Result['records'][number] {
  return { ...record, capabilities: [...record.capabilities] };
}
