/** Where a request shows its token. */
import type { IncomingHttpHeaders } from 'node:http';
import { FlowbusError } from '../../lib/errors.js';

/** The parameter of event streams: a page's EventSource can set no header. Nowhere else, for URLs end in logs. */
export const ACCESS_TOKEN = 'access_token';

/** That of `Authorization: Bearer …`; null without. */
export function bearerOf({ authorization = '' }: IncomingHttpHeaders): string | null {
  const [scheme, token] = authorization.split(' ');
  return scheme.toLowerCase() === 'bearer' ? (token ?? null) : null;
}

/** That of an event stream. Throws FlowbusError BAD_OPTION when it could be one or the other. */
export function streamTokenOf(headers: IncomingHttpHeaders, query: URLSearchParams): string | null {
  const parameters = query.getAll(ACCESS_TOKEN);
  const bearer = bearerOf(headers);
  if (parameters.length + (bearer === null ? 0 : 1) > 1) {
    throw new FlowbusError(
      'BAD_OPTION',
      `The token must stand once, as ${ACCESS_TOKEN} or as Authorization.`,
    );
  }
  return parameters[0] ?? bearer;
}
