/** libp2p needs Promise.withResolvers, which Node has from version 22 on. To be imported before it, and in its process only. */
interface Resolvers {
  promise: Promise<unknown>;
  resolve: (value: unknown) => void;
  reject: (reason: unknown) => void;
}

const target = Promise as unknown as { withResolvers?: () => Resolvers };

target.withResolvers ??= function withResolvers(): Resolvers {
  let resolve!: Resolvers['resolve'];
  let reject!: Resolvers['reject'];
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
};
