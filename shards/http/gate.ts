/**
 * Whom the doors let in before anybody says who they are. Web pages are told apart by `Origin`. A page can also have
 * its own name resolve to this machine (DNS rebinding): to the browser its requests then stay with their origin, but
 * `Host` names the page's host. Where tokens protect the broker that gains it nothing, and any name will do.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { isLoopback } from '../../lib/config/loopback.js';
import type { ErrorCode } from '../../lib/errors.js';
import { originAllowed } from './origin.js';

/** Name or address, and perhaps a port: nothing that a URL would read as something else. */
const HOST = /^[^\s/?#@\\]+$/;
/** Listening on one of these is listening on every address of the machine. */
const WILDCARDS: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

export interface GateOptions {
  /** Where the broker listens, as configured. */
  readonly host: string;
  /** Origins as configured; `*` for all. */
  readonly allowedOrigins: readonly string[];
  /** Tokens are asked for. */
  readonly secured: boolean;
}

/** The host of an authority or URL in its usual form, IPv6 without brackets; null when there is none. */
function hostOf(url: string): string | null {
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$/g, '') : null;
}

export class Gate {
  readonly #origins: readonly string[];
  readonly #anyHost: boolean;
  readonly #anyAddress: boolean;
  readonly #hosts: ReadonlySet<string | null>;
  /** The last header that was let in: nearly all clients write the same one, and reading it is slow. */
  #answered: string;

  constructor({ host, allowedOrigins, secured }: GateOptions) {
    this.#origins = allowedOrigins;
    this.#anyHost = secured || allowedOrigins.includes('*');
    this.#anyAddress = WILDCARDS.has(host);
    const listening = hostOf(`http://${isIP(host) === 6 ? `[${host}]` : host}`);
    this.#hosts = new Set([listening, ...allowedOrigins.map(hostOf)]);
    this.#answered = '';
  }

  /** Why a request with these headers is not let in; null when it is. */
  problem(headers: IncomingHttpHeaders): ErrorCode | null {
    const { host, origin } = headers;
    if (!this.#anyHost) {
      if (!this.#answersTo(host)) return 'FORBIDDEN_HOST';
      // Without an origin: a page reads no answer to that, but may keep streams open by it.
      if (origin === undefined && isEmbedded(headers)) return 'FORBIDDEN_ORIGIN';
    }
    return originAllowed(origin, this.#origins) ? null : 'FORBIDDEN_ORIGIN';
  }

  #answersTo(header: string | undefined): boolean {
    if (header === undefined || header === '') return false;
    if (header === this.#answered) return true;
    if (!HOST.test(header)) return false;
    const host = hostOf(`http://${header}`);
    if (host === null) return false;
    // An address cannot be made to resolve to another.
    const known = isLoopback(host) || this.#hosts.has(host) || (this.#anyAddress && isIP(host) !== 0);
    if (known) this.#answered = header;
    return known;
  }
}

/** Asked for by a page of another site, as an image is; not by somebody who follows a link. */
function isEmbedded(headers: IncomingHttpHeaders): boolean {
  return headers['sec-fetch-site'] === 'cross-site' && headers['sec-fetch-mode'] !== 'navigate';
}
