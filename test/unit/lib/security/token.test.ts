import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { SignJWT } from 'jose';
import { FlowbusError } from '../../../../lib/errors.js';
import { issueToken, verifyToken } from '../../../../lib/security/token.js';
import { MAX_TOKEN } from '../../../../lib/wire/control.js';

const SECRET = 'a secret of thirty-two bytes ....';
const KEY = new TextEncoder().encode(SECRET);
const now = (): number => Math.floor(Date.now() / 1000);

async function refused(
  token: string | null | undefined,
  reason: RegExp,
  agentId = 'worker-7',
): Promise<void> {
  await assert.rejects(verifyToken(SECRET, token, agentId), (error: unknown) => {
    assert.ok(error instanceof FlowbusError);
    assert.equal(error.code, 'UNAUTHORIZED');
    assert.equal(error.fatal, true);
    assert.match(error.message, reason);
    return true;
  });
}

function signed(claims: Record<string, unknown>, alg = 'HS256'): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg }).sign(KEY);
}

describe('token', () => {
  it('lets the agent in for which it was made', async () => {
    const token = await issueToken(SECRET, 'worker-7', { expiresIn: 60_000 });
    const claims = await verifyToken(SECRET, token, 'worker-7');
    assert.equal(claims.sub, 'worker-7');
    assert.ok(Math.abs(claims.exp - now() - 60) <= 2);
  });

  it('lets any agent in when it names none', async () => {
    const token = await issueToken(SECRET, undefined);
    const claims = await verifyToken(SECRET, token, 'worker-7');
    assert.equal(claims.sub, undefined);
    assert.ok(Math.abs(claims.exp - now() - 86_400) <= 2);
  });

  it('accepts what another library made with the same secret', async () => {
    await verifyToken(SECRET, await signed({ sub: 'worker-7', exp: now() + 60 }), 'worker-7');
  });

  it('refuses another agent, without naming the right one', async () => {
    const token = await issueToken(SECRET, 'planner-1');
    await refused(token, /^the token was made for another agent$/);
    await refused(await signed({ sub: '', exp: now() + 60 }), /another agent/);
    await refused(await signed({ sub: 7, exp: now() + 60 }), /another agent|malformed/, '7');
  });

  it('lets in whoever is no agent with the token of any', async () => {
    const claims = await verifyToken(SECRET, await issueToken(SECRET, 'planner-1'), null);
    assert.equal(claims.sub, 'planner-1');
    await assert.rejects(verifyToken(SECRET, null, null), { code: 'UNAUTHORIZED' });
  });

  it('refuses when there is none', async () => {
    for (const none of [null, undefined, '']) await refused(none, /there is none/);
  });

  it('refuses what has expired, never expires, or is not valid yet', async () => {
    await refused(await signed({ sub: 'worker-7', exp: now() - 60 }), /has expired/);
    await refused(await signed({ sub: 'worker-7' }), /no valid expiry/);
    await refused(await signed({ sub: 'worker-7', exp: 'soon' }), /no valid expiry/);
    await refused(await signed({ exp: now() + 600, nbf: now() + 300 }), /not valid yet/);
  });

  it('forgives clocks that differ by a few seconds, and no more', async () => {
    await verifyToken(SECRET, await signed({ exp: now() - 2 }), 'worker-7');
    await verifyToken(SECRET, await signed({ exp: now() + 60, nbf: now() + 2 }), 'worker-7');
    await refused(await signed({ exp: now() - 6 }), /has expired/);
    await refused(await signed({ exp: now() + 60, nbf: now() + 8 }), /not valid yet/);
  });

  it('refuses another secret, algorithm, or none', async () => {
    await refused(await issueToken(`${SECRET}x`, 'worker-7'), /signature of the token is wrong/);
    const claims = { sub: 'worker-7', exp: now() + 60 };
    await refused(await signed(claims, 'HS512'), /not signed with HS256/);
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await refused(await new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).sign(privateKey), /HS256/);
    const [, payload] = (await signed(claims)).split('.');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    await refused(`${none}.${payload}.`, /malformed|HS256/);
  });

  it('refuses a changed claim', async () => {
    const [header, , signature] = (await issueToken(SECRET, 'planner-1')).split('.');
    const payload = Buffer.from(JSON.stringify({ sub: 'worker-7', exp: now() + 60 })).toString('base64url');
    await refused(`${header}.${payload}.${signature}`, /signature/);
  });

  it('refuses what is too long, unread', async () => {
    await refused('x'.repeat(MAX_TOKEN + 1), /too long/);
  });

  it('answers any text with UNAUTHORIZED that repeats none of it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', minLength: 1 }), async (text) => {
        await refused(text, /^the token is malformed$/);
      }),
    );
  });

  it('is not made without an end', async () => {
    for (const expiresIn of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      await assert.rejects(issueToken(SECRET, 'a', { expiresIn }), { code: 'BAD_OPTION' });
    }
  });
});
