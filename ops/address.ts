/** `host:port`, where a multiaddr says no more than that: what a person gives to `--join`. Anything else stays as it is. */
export function plainAddress(address: string): string {
  const [, kind, host, port] = /^\/(ip4|ip6|dns[46]?)\/([^/]+)\/tcp\/(\d+)$/.exec(address) ?? [];
  if (port === undefined) return address;
  return kind === 'ip6' ? `[${host}]:${port}` : `${host}:${port}`;
}
