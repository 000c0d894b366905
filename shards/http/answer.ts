/** HTTP answers: JSON, never cached, and without a reset that could overtake them. */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { type ErrorCode, errorEntry, type FlowbusError } from '../../lib/errors.js';

/** Seconds, for what is worth a second attempt. */
const RETRY_AFTER = 1;
/** An unread rest of a body up to this size (bytes) is worth reading, to keep the connection. */
const WORTH_READING = 64 * 1024;
/** How long a connection that will be closed is still read (milliseconds). */
const LINGER = 1000;

const BAD_REQUEST = 400;
const TOO_MANY_REQUESTS = 429;
const UNAVAILABLE = 503;
const FAILED = 500;

/** One request and its answer. */
export interface Visit {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Once for each answer. */
  readonly answered: (status: number) => void;
}

/** Whether an unread rest of the body is too large, or of unknown size, to be read for the sake of the connection. */
function hasLongRest(req: IncomingMessage): boolean {
  if (req.complete) return false;
  if (req.headers['transfer-encoding'] !== undefined) return true;
  return Number(req.headers['content-length'] ?? 0) > WORTH_READING;
}

/**
 * Sends the whole answer. With `close`, or when a long body is still to come, the connection ends with it. Does
 * nothing when an answer has begun or the client has gone.
 */
export function answer(
  visit: Visit,
  status: number,
  contentType: string,
  body: string,
  headers: OutgoingHttpHeaders = {},
  close = false,
): void {
  const { req, res } = visit;
  if (res.headersSent || res.destroyed) return;
  const closing = close || hasLongRest(req);
  if (closing) res.setHeader('Connection', 'close');
  res.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...headers,
  });
  visit.answered(status);
  if (!closing) {
    res.end(body);
    return;
  }
  // Closing with bytes unread makes the kernel send a reset, which can overtake the answer: read on for a while.
  res.write(body);
  const timer = setTimeout(() => res.end(), LINGER);
  req.once('end', () => res.end());
  res.once('close', () => clearTimeout(timer));
  req.resume();
}

/** Sends `value` as JSON. */
export function answerJson(visit: Visit, status: number, value: object, headers?: OutgoingHttpHeaders): void {
  answer(visit, status, 'application/json', `${JSON.stringify(value)}\n`, headers);
}

export function statusOf(code: ErrorCode): number {
  return errorEntry(code).httpStatus ?? BAD_REQUEST;
}

interface ErrorAnswer {
  /** Default: that of the code. */
  status?: number;
  headers?: OutgoingHttpHeaders;
  /** Also end the connection. */
  close?: boolean;
}

/** Sends `{ code, message }` with the status of the code. */
export function answerError(
  visit: Visit,
  error: FlowbusError,
  { status = statusOf(error.code), headers = {}, close = false }: ErrorAnswer = {},
): void {
  const added = { ...headers };
  if (status === UNAVAILABLE || status === TOO_MANY_REQUESTS) added['Retry-After'] = RETRY_AFTER;
  if (error.code === 'UNAUTHORIZED') added['WWW-Authenticate'] = 'Bearer';
  const body = `${JSON.stringify({ code: error.code, message: error.message })}\n`;
  answer(visit, status, 'application/json', body, added, close);
}

/** Sends status 500 for what should not have happened; what it was is for the log alone. */
export function answerFailure(visit: Visit): void {
  const body = { code: 'INTERNAL', message: 'The broker failed to answer. Its log says why.' };
  answerJson(visit, FAILED, body);
}
