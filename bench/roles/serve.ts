/** The side of a role: a process of its own, which does what the harness asks over the IPC channel. */

/** What a role can be asked. Each takes one argument at most. */
export type Operations = Readonly<Record<string, (argument: never) => unknown>>;

export interface Call {
  id: number;
  operation: string;
  argument: unknown;
}

export interface Answer {
  id: number;
  value?: unknown;
  error?: string;
}

/** The first message of a role, before which it is asked nothing. */
export const READY = 'ready';

/** Serves until the harness is gone, however it went; then `end`, and the process exits. */
export function serve(operations: Operations, end: () => Promise<void> = () => Promise.resolve()): void {
  const answer = (message: Answer): void => {
    if (process.connected) process.send?.(message);
  };
  process.on('message', async ({ id, operation, argument }: Call) => {
    try {
      answer({ id, value: await operations[operation](argument as never) });
    } catch (error) {
      answer({ id, error: error instanceof Error ? error.message : String(error) });
    }
  });
  const leave = (): void => {
    end().finally(() => process.exit());
  };
  process.once('disconnect', leave);
  process.once('SIGTERM', leave);
  // A terminal sends it to all: the harness decides.
  process.on('SIGINT', () => {});
  process.send?.(READY);
}
