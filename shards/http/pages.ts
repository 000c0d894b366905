/**
 * What browsers must hear before they give a web page of another origin the answers that it asks for (CORS). The gate
 * has let the origin in already. Nothing here lets cookies come along: whoever may be told so shows a token.
 */
import type { Visit } from './answer.js';
import { PUBLISH_PARAMETERS } from './publish.js';

const HEADERS = [
  'Authorization',
  'Content-Type',
  'Last-Event-ID',
  ...PUBLISH_PARAMETERS.map((name) => `flowbus-${name}`),
].join(', ');
/** Seconds for which a browser need not ask again. */
const MAX_AGE = 600;
const NO_CONTENT = 204;

/** Lets the page that asks, if it is one, read the answer. */
export function openToPage({ req, res }: Visit): void {
  const { origin } = req.headers;
  if (origin === undefined) return;
  res.setHeader('Access-Control-Allow-Origin', origin);
  res.setHeader('Access-Control-Expose-Headers', 'Retry-After');
  res.setHeader('Vary', 'Origin');
}

/** Whether a browser asks what a page may ask. */
export function isPreflight({ req }: Visit): boolean {
  return (
    req.method === 'OPTIONS' &&
    req.headers.origin !== undefined &&
    req.headers['access-control-request-method'] !== undefined
  );
}

export function answerPreflight({ res, answered }: Visit, methods: readonly string[]): void {
  res.writeHead(NO_CONTENT, {
    'Access-Control-Allow-Methods': methods.join(', '),
    'Access-Control-Allow-Headers': HEADERS,
    'Access-Control-Max-Age': MAX_AGE,
  });
  answered(NO_CONTENT);
  res.end();
}
