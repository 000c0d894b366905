/**
 * The tokens that agents show in hello: JSON Web Tokens, signed with HS256 and the broker's authSecret. Any JWT
 * library can make them.
 */
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import { FlowbusError } from '../errors.js';
import { MAX_TOKEN } from '../wire/control.js';

/** What a good token says. */
export interface TokenClaims extends JWTPayload {
  /** The one agent that may use it; without it any agent may. */
  readonly sub?: string;
  /** When it ends, seconds since the Unix epoch. Every token must have one. It is taken for 5 s more: clocks differ. */
  readonly exp: number;
}

export interface TokenOptions {
  /** How long it is valid, in milliseconds, rounded up to seconds. Default: 24 hours. */
  readonly expiresIn?: number;
}

/** How far the clocks of the maker and the broker may be apart (seconds). */
const CLOCK_TOLERANCE = 5;
const DEFAULT_LIFE = 24 * 3_600_000;
const ALGORITHM = 'HS256';

const encoder = new TextEncoder();

/**
 * A token for `agentId`, or for any agent when it is undefined.
 * @param secret the broker's authSecret, at least 32 bytes
 * @throws FlowbusError BAD_OPTION when expiresIn is not positive
 */
export async function issueToken(
  secret: string,
  agentId: string | undefined,
  { expiresIn = DEFAULT_LIFE }: TokenOptions = {},
): Promise<string> {
  if (!(expiresIn > 0) || !Number.isSafeInteger(expiresIn)) {
    throw new FlowbusError(
      'BAD_OPTION',
      `expiresIn ${expiresIn}: must be a positive whole number of milliseconds`,
    );
  }
  const now = Math.floor(Date.now() / 1000);
  const token = new SignJWT().setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' }).setIssuedAt(now);
  if (agentId !== undefined) token.setSubject(agentId);
  return token.setExpirationTime(now + Math.ceil(expiresIn / 1000)).sign(encoder.encode(secret));
}

/** Nothing of the token goes into the reason: it may end in the log of somebody who should not have it. */
function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'the token has expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'nbf') return 'the token is not valid yet';
    if (error.claim === 'exp') return 'the token has no valid expiry (exp)';
    return 'a claim of the token is malformed';
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'the signature of the token is wrong';
  if (error instanceof errors.JOSEAlgNotAllowed) return 'the token is not signed with HS256';
  return 'the token is malformed';
}

/**
 * The claims of a token that `agentId` may use; with null, of any good token.
 * @param secret the broker's authSecret
 * @param agentId who shows it; null = nobody in particular (HTTP), so that any agent's token will do
 * @throws FlowbusError UNAUTHORIZED, with the reason
 */
export async function verifyToken(
  secret: string,
  token: string | null | undefined,
  agentId: string | null,
): Promise<TokenClaims> {
  if (token === null || token === undefined || token === '') {
    throw new FlowbusError('UNAUTHORIZED', 'this broker wants a token, and there is none');
  }
  // Unread: whatever is longer cannot have come in a hello.
  if (token.length > MAX_TOKEN) throw new FlowbusError('UNAUTHORIZED', 'the token is too long');
  let claims: JWTPayload;
  try {
    const verified = await jwtVerify(token, encoder.encode(secret), {
      algorithms: [ALGORITHM],
      requiredClaims: ['exp'],
      clockTolerance: CLOCK_TOLERANCE,
    });
    claims = verified.payload;
  } catch (error) {
    throw new FlowbusError('UNAUTHORIZED', reasonOf(error));
  }
  // Only a missing subject means "any agent": an empty or non-text subject names an agent that cannot exist.
  if (claims.sub !== undefined && agentId !== null && claims.sub !== agentId) {
    throw new FlowbusError('UNAUTHORIZED', 'the token was made for another agent');
  }
  return claims as TokenClaims;
}
