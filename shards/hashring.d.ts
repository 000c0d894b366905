/** The part of `hashring` that placement uses; the package brings no types. */
declare module 'hashring' {
  export default class HashRing {
    constructor(servers: readonly string[], hash: (key: string) => Buffer);
    /** The first `size` different servers clockwise from the key. Not cached, unlike `get`. */
    range(key: string, size: number): string[];
  }
}
