/**
 * Which web pages may connect. Browsers let any page open a WebSocket or post to any address that they reach, this
 * machine's included, and say in `Origin` which page it was; programs that are no browsers send none.
 */
import { isLoopback } from '../../lib/config/loopback.js';

/** `allowed`: origins as configured; `*` for all. Pages of this machine may always connect. */
export function originAllowed(origin: string | undefined, allowed: readonly string[]): boolean {
  if (origin === undefined || allowed.includes('*') || allowed.includes(origin)) return true;
  if (!URL.canParse(origin)) return false;
  const { hostname, protocol } = new URL(origin);
  // Extensions and apps have hosts as they like.
  if (protocol !== 'http:' && protocol !== 'https:') return false;
  return hostname === 'localhost' || isLoopback(hostname.replace(/^\[|\]$/g, ''));
}
