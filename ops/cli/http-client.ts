/** Questions to the HTTP door of a broker, for commands that need no connection of an agent. */
import { FlowbusError, isErrorCode } from '../../lib/errors.js';
import { type ClientOptions, DEFAULT_URL } from './options.js';

/** How long an answer may take (ms): longer than a shard waits for the others. */
const PATIENCE = 15_000;

export class HttpClient {
  readonly #urls: readonly URL[];
  readonly #headers: Record<string, string>;

  /** Throws BAD_OPTION for what is no URL of a broker. */
  constructor({ url, token }: ClientOptions) {
    const urls = url === undefined || url.length === 0 ? [DEFAULT_URL] : url;
    this.#urls = urls.map(httpUrl);
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  /** The answer of the first broker that can be reached. Rejects with what it refuses, CONNECT_FAILED, TIMEOUT. */
  async ask<T>(method: string, path: string, query = new URLSearchParams()): Promise<T> {
    const problems: string[] = [];
    for (const base of this.#urls) {
      const url = new URL(path, base);
      url.search = query.toString();
      let response: Response;
      let body: unknown;
      try {
        response = await fetch(url, {
          method,
          headers: this.#headers,
          signal: AbortSignal.timeout(PATIENCE),
        });
        body = await response.json();
      } catch (error) {
        if (error instanceof Error && error.name === 'TimeoutError')
          throw new FlowbusError('TIMEOUT', `${base.origin} did not answer within ${PATIENCE} ms`);
        problems.push(`${base.origin}: ${reasonOf(error)}`);
        continue;
      }
      if (response.ok) return body as T;
      const { code, message } = body as { code?: unknown; message?: unknown };
      throw new FlowbusError(
        typeof code === 'string' && isErrorCode(code) ? code : 'INTERNAL',
        typeof message === 'string' ? message : `${base.origin} answered with status ${response.status}`,
      );
    }
    throw new FlowbusError('CONNECT_FAILED', problems.join('; '));
  }
}

/** `ws://host` as `http://host`, `wss:` as `https:`: all doors have one port. */
function httpUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text.replace(/^ws/, 'http')) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new FlowbusError('BAD_OPTION', `--url ${JSON.stringify(text)}: it must be such as ${DEFAULT_URL}`);
  return url;
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message || String((cause as { code?: unknown }).code) : String(cause);
}
