/** What the bench ends with; `bench/README.md` says what each means. */
export const Exit = { ok: 0, failed: 1, usage: 2, slower: 3, interrupted: 130 } as const;
